# Prompt tuning on ODinW: learns only one vector per token position, added to the tokens of all
# prompts. A config that uses this schedule sets
#   model = dict(trainable={{_base_.trainable}}, backbone=dict(text=dict(prompt_rows=256)))
_base_ = './odinw_plateau.py'
trainable = ['backbone.text.prompt_rows']
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=0.25))
