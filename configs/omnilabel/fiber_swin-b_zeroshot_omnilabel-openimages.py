# OmniLabel on its images of Open Images.
_base_ = './fiber_swin-b_zeroshot_omnilabel.py'
test_dataloader = dict(dataset=dict(ann_file='dataset_all_val_v0.1.3_openimagesv5.json'))
test_evaluator = dict(ann_file='data/omnilabel/dataset_all_val_v0.1.3_openimagesv5.json')
