# LVIS asked by descriptions, on all of val (19 809 images).
_base_ = './fiber_swin-b_descriptions_zeroshot_lvis.py'
test_dataloader = dict(dataset=dict(ann_file='annotations/lvis_v1_val.json'))
test_evaluator = dict(ann_file='data/coco/annotations/lvis_v1_val.json')
