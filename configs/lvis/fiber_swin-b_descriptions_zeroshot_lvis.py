# LVIS minival asked by descriptions, with weights trained on them (DesCo-FIBER): "Detect: aerosol
# can, a kind of container, cylindrical, …", 8 categories at a time. Another description file:
#   --cfg-options test_dataloader.dataset.descriptions=/path/to/descriptions.json
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/lvis_descriptions.py',
    '../_base_/default_runtime.py',
]
# up to 300 boxes per prompt; boxes keep the model's inclusive edges
model = dict(test_cfg=dict(chunked_size=8, max_per_img=300, exclusive_boxes=False))
