# Phrase grounding of pre-trained FIBER-B on the test split: recall by ANY-BOX and MERGED-BOX, of
# all phrases and of each type.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/flickr30k_grounding.py',
    '../_base_/default_runtime.py',
]
