# FIBER-B in the layout for referring expressions, with a longer warm-up. Replace the mixed file
# by one without the images of RefCOCO's evaluation splits.
_base_ = './fiber_swin-b_64xb1-800k_flickr-mixed-o365.py'
model = dict(backbone=dict(i2t_norm=True))
param_scheduler = [dict(_base_.param_scheduler[0], end=5001), *_base_.param_scheduler[1:]]
