# Tuning the text tower alone on ODinW, its cross-attention and gates included (the reference's
# language_prompt_v1). The config that takes this says
#   model = dict(trainable={{_base_.trainable}})
_base_ = './odinw_plateau.py'
trainable = ['backbone.text']
