# Tuning only the text tower on ODinW, including its cross-attention and gates. A config that uses
# this schedule sets
#   model = dict(trainable={{_base_.trainable}})
_base_ = './odinw_plateau.py'
trainable = ['backbone.text']
