# The same budget, but the whole backbone starts from image-text pre-training, by one line. Both
# stages of FIBER-mini read BGR, so the input channels stay as they are.
_base_ = './fiber_mini_scenes_short.py'
model = dict(
    backbone=dict(pretrained=dict(coarse='work_dirs/fiber_mini_scenes_pretrain/iter_2000.pth'))
)
