# Referring expressions ("the red circle left of the star") with the model of
# fiber_mini_scenes.py, which was trained on captions, but not on expressions.
#   python tools/test.py configs/scenes/fiber_mini_scenes_refexp.py CHECKPOINT
_base_ = './fiber_mini_scenes_grounding.py'
test_dataloader = dict(dataset=dict(ann_file='annotations/refexp_test.json'))
test_evaluator = dict(type='ReferringPrecision')
val_dataloader = dict(dataset=dict(ann_file='annotations/refexp_val.json'))
val_evaluator = dict(type='ReferringPrecision')
