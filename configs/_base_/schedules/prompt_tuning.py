# Prompt tuning on ODinW: one learned vector a token, added to
# the words of all prompts, and nothing else. The config that takes this says
#   model = dict(trainable={{_base_.trainable}}, backbone=dict(text=dict(prompt_rows=256)))
_base_ = './odinw_plateau.py'
trainable = ['backbone.text.prompt_rows']
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=0.25))
