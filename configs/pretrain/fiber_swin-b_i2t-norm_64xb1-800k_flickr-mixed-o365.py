# FIBER-B in the layout for referring expressions: a longer warm-up, and the mixed file without the
# photos of RefCOCO's evaluation in the place of the ordinary one.
_base_ = './fiber_swin-b_64xb1-800k_flickr-mixed-o365.py'
model = dict(backbone=dict(i2t_norm=True))
param_scheduler = [dict(_base_.param_scheduler[0], end=5001), *_base_.param_scheduler[1:]]
