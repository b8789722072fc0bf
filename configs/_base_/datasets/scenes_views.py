# Images of generated scenes as the image-text tasks read them, 192 pixels wide.
load_view = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
resize_view = dict(
    type='Resize', scale=(192, 192), keep_ratio=False, interpolation='bicubic', backend='pillow'
)
read_views = dict(type='EachView', transforms=[load_view, resize_view])
pack = dict(type='PackImageText')
test_pipeline = [read_views, pack]
