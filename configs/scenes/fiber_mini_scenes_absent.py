# What a user sees: boxes with a score of 0.5 or more, asked for two names at a time, most of which
# are not in the scene.
#   python tools/test.py configs/scenes/fiber_mini_scenes_absent.py CHECKPOINT
# Other names: --cfg-options test_dataloader.dataset.ann_file=annotations/coco_sized_test.json
# (or coco_shapes_test.json, coco_colors_test.json)
_base_ = './fiber_mini_scenes.py'
model = dict(test_cfg=dict(chunked_size=2))
val_evaluator = dict(_delete_=True, type='BoxesAtThreshold')
test_evaluator = val_evaluator
