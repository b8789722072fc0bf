# Linear probing on ODinW: only the last linear layers of the head learn; everything else is
# frozen, in evaluation mode. A config that uses this schedule sets
#   model = dict(trainable={{_base_.trainable}})
_base_ = './odinw_plateau.py'
trainable = [
    'bbox_head.box_conv',
    'bbox_head.centerness_conv',
    'bbox_head.token_proj',
    'bbox_head.log_scale',
    'bbox_head.token_bias',
    'bbox_head.token_bias0',
]
