# Tuning the text tower alone on ODinW, its cross-attention and gates included.
# The config that takes this says
#   model = dict(trainable={{_base_.trainable}})
_base_ = './odinw_plateau.py'
trainable = ['backbone.text']
