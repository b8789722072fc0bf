# How the paper's detection tasks read images and boxes.
meta_keys = (
    'img_id',
    'img_path',
    'img_upright',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'text',
    'custom_entities',
    'tokens_positive',
    'phrases',
    'caption_prompt',
    'phrase_ids',
    'phrase_types',
    'sent_ids',
    'description_ids',
    'chunk_sizes',
)

# decoded like the reference: Pillow, EXIF orientation ignored
load_photo = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
load_boxes = dict(type='LoadAnnotations', with_bbox=True)
inclusive_boxes = dict(type='InclusiveBoxes')
multi_scale = dict(
    type='RandomChoiceResize',
    resize_type='ShortSideResize',
    scales=[(1333, 480), (1333, 560), (1333, 640), (1333, 720), (1333, 800)],
)
# "left" and "right" in the text are not swapped, as in the reference
flip = dict(type='CaptionFlip', prob=0.5)
pack = dict(type='PackDetInputs', meta_keys=meta_keys)

test_pipeline = [load_photo, dict(type='ShortSideResize', scale=(1333, 800)), load_boxes, pack]
