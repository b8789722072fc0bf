# FIBER-B, pre-trained for detection. Starts from image-text weights (load_from, converted) or
# from public towers (model.backbone.pretrained). Tested on COCO val2017, zero-shot.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/flickr_mixed_o365.py',
    '../_base_/schedules/pretrain_800k.py',
    '../_base_/iter_based_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
