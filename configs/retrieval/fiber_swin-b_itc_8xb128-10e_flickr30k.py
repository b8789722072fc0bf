# FIBER-B on Flickr30k retrieval by contrast, starting from the weights of COCO retrieval.
#   python tools/train.py CONFIG --cfg-options load_from=COCO_RETRIEVAL
_base_ = [
    '../_base_/models/fiber_vl_swin-b_576.py',
    '../_base_/datasets/flickr30k_captions.py',
    '../_base_/retrieval_itc.py',
]
model = dict(
    heads=dict(itc=dict(type='ITCHead', queue_size=4096, legacy_queue=True, same_image_guard=False))
)
train_dataloader = dict(batch_size=128)
