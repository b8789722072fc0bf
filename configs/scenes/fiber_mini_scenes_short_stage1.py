# The same budget, starting from the image-level stage: its backbone is read by one line. It saw RGB,
# the detector reads BGR; bias tables are resized from its window of 4 to 6.
_base_ = './fiber_mini_scenes_short.py'
model = dict(
    backbone=dict(
        pretrained=dict(coarse='work_dirs/fiber_mini_scenes_pretrain/iter_600.pth', swap_rgb=True)
    )
)
