# FIBER-B on COCO retrieval by contrast, at 576 pixels: each modality is encoded on its own. 8 GPUs
# with 128 pairs each: the paper's batch of 1024.
#   python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_swin-b_576.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/retrieval_itc.py',
]
# legacy_queue=False and same_image_guard=True fix the reference's queue
model = dict(
    heads=dict(itc=dict(type='ITCHead', queue_size=4096, legacy_queue=True, same_image_guard=False))
)
train_dataloader = dict(batch_size=128)
