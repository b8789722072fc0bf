# Phrase grounding with pre-trained FIBER-T on the test split.
_base_ = [
    '../_base_/models/fiber_swin-t.py',
    '../_base_/datasets/flickr30k_grounding.py',
    '../_base_/default_runtime.py',
]
