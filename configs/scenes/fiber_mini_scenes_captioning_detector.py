# Captions, starting from the backbone of the shipped detector; see fiber_mini_scenes_vqa_detector.py.
_base_ = './fiber_mini_scenes_captioning.py'
load_from = 'fiber_mmdet/assets/fiber_mini/weights.pth'
model = dict(
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False),
    backbone=dict(image=dict(window=6)))
read_views = dict(type='EachView', transforms=[
    dict(type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'),
    dict(type='Resize', scale=(192, 192), keep_ratio=False, interpolation='bicubic',
         backend='pillow')])
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=[
    read_views, dict(type='FlipViews', prob=0.5, swap_words=True), dict(type='PackImageText')]))
pipeline = [read_views, dict(type='PackImageText')]
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
