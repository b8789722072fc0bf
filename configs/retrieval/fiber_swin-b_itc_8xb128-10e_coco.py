# FIBER-B on COCO retrieval by contrast, at 576 pixels: either modality is encoded by itself. 8 GPUs
# with 128 pairs each: the paper's batch of 1024.
#   python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_swin-b_576.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
# legacy_queue=False, same_image_guard=True mend the reference's queue
model = dict(
    heads=dict(itc=dict(type='ITCHead', queue_size=4096, legacy_queue=True, same_image_guard=False))
)
train_dataloader = dict(batch_size=128)
val_cfg = dict(type='RetrievalValLoop')
test_cfg = dict(type='RetrievalTestLoop')
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='retrieval/itc/R@1_sum', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=1024)
