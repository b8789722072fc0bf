# default_runtime.py for trainings that end when their metric stops rising: only the best and the
# last weights are kept.
_base_ = './default_runtime.py'
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best='coco/bbox_mAP', rule='greater')
)
