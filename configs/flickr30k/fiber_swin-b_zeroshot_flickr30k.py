# Phrase grounding with pre-trained FIBER-B on the test split: ANY-BOX and MERGED-BOX recall, over
# all phrases and by type.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/flickr30k_grounding.py',
    '../_base_/default_runtime.py',
]
