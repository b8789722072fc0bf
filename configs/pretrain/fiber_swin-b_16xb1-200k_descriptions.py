# FIBER-B, trained on from its detection weights (load_from) with descriptions of what categories
# and phrases look like, as DesCo-FIBER was. Tested on COCO val2017, zero-shot;
# configs/lvis/fiber_swin-b_descriptions_zeroshot_lvis.py asks by descriptions.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/flickr_mixed_o365_descriptions.py',
    '../_base_/schedules/descriptions_200k.py',
    '../_base_/iter_based_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
