# FIBER-B on COCO captioning at 576 pixels, first of three stages: maximum likelihood of the next
# word. 8 GPUs with 8 pairs each, 8 iterations per step: the paper's batch of 512.
#   python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_swin-b_576.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
# legacy_beam=False fixes the reference's beam search
model = dict(
    heads=dict(caption=dict(type='CaptionHead', beam_size=5, max_new_tokens=49, legacy_beam=True))
)
optim_wrapper = dict(accumulative_counts=8, optimizer=dict(lr=5e-5))
# references come from the file, so a caption that occurs twice counts twice, as in the public
# evaluation
val_evaluator = dict(
    type='CaptionMetric', ann_file='data/karpathy/dataset_coco.json', splits=('val',)
)
test_evaluator = dict(val_evaluator, splits=('test',))
auto_scale_lr = dict(enable=False, base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='caption/CIDEr-D', rule='greater'))
