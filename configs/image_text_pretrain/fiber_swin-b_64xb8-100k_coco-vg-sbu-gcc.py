# FIBER-B, pre-trained on image-text pairs from public towers: masked words, contrast, and
# matching with hard negatives. 64 GPUs with 8 pairs each, 8 iterations per step: the paper's
# batch of 4096.
_base_ = [
    '../_base_/models/fiber_vl_swin-b.py',
    '../_base_/datasets/pretrain_image_text.py',
    '../_base_/schedules/image_text_100k.py',
    '../_base_/image_text_iter_based_runtime.py',
]
model = dict(
    tokenizer=dict(max_tokens=40),
    backbone=dict(
        pretrained=dict(
            image='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
            'swin_base_patch4_window12_384_22k.pth',
            text='roberta-base',
        )
    ),
    # as in the reference: the queue starts with noise, other captions of an image are among the
    # negatives, and all images are kept (1.7 GiB per GPU as uint8; the reference's float32 takes
    # 6.8). legacy_queue=False and same_image_guard=True fix the first two
    heads=dict(
        mlm=dict(type='MLMHead', mask_prob=0.15),
        itc=dict(
            type='ITCHead',
            queue_size=4096,
            legacy_queue=True,
            same_image_guard=False,
            pixel_queue=4096,
            pixel_dtype='uint8',
        ),
        itm=dict(type='ITMHead', negatives='hard', score='logit'),
    ),
)
# a multiple of 8 iterations, since accumulated gradients are not saved
default_hooks = dict(checkpoint=dict(interval=8000))
