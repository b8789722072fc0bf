# The same budget, but the backbone starts from image-text pre-training, by one line. That stage
# reads RGB and the detector BGR; bias tables are resized from windows of 4 to windows of 6.
_base_ = './fiber_mini_scenes_short.py'
model = dict(
    backbone=dict(
        pretrained=dict(coarse='work_dirs/fiber_mini_scenes_pretrain/iter_2000.pth', swap_rgb=True)
    )
)
