# Phrase grounding with the models of fiber_mini_scenes_short.py: recall on captions.
#   python tools/test.py configs/scenes/fiber_mini_scenes_short_grounding.py CHECKPOINT
_base_ = './fiber_mini_scenes_short.py'
model = dict(test_cfg=dict(score_thr=0.0, exclusive_boxes=False))
test_dataloader = dict(
    dataset=dict(type='MDETRGroundingDataset', ann_file='annotations/grounding_test.json')
)
test_evaluator = dict(_delete_=True, type='PhraseRecall')
val_dataloader = dict(
    dataset=dict(type='MDETRGroundingDataset', ann_file='annotations/grounding_val.json')
)
val_evaluator = dict(_delete_=True, type='PhraseRecall')
