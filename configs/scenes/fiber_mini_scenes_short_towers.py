# The same budget, but both towers start from their own pre-training, and the cross-attention from
# scratch.
_base_ = './fiber_mini_scenes_short.py'
model = dict(
    backbone=dict(pretrained=dict(towers='work_dirs/fiber_mini_scenes_towers_3_words/iter_400.pth'))
)
