# Images of the image-text tasks: squares, whose aspect ratio is not kept. Their side is 32 times
# the model's window.
sides = (224, 384, 576)

# decoded like the reference: Pillow, EXIF orientation ignored
load_view = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
pack = dict(type='PackImageText')

# without augmentation: evaluation and pre-training
plain = {
    f'px{side}': [
        dict(
            type='EachView',
            transforms=[
                load_view,
                dict(
                    type='Resize',
                    scale=(side, side),
                    keep_ratio=False,
                    interpolation='bicubic',
                    backend='pillow',
                ),
            ],
        ),
        pack,
    ]
    for side in sides
}

# fine-tuning: each view is augmented independently. "left" and "right" in the text are not swapped,
# as in the reference; RandAugment shifts by a number of pixels, whatever the image size.
augmented = {
    f'px{side}': [
        dict(
            type='EachView',
            transforms=[
                load_view,
                dict(type='RandomResizedCrop', scale=side, area=(0.5, 1.0)),
                dict(type='RandomFlip', prob=0.5),
                dict(type='ImageRandAugment', num_ops=2, level=7),
            ],
        ),
        pack,
    ]
    for side in sides
}
