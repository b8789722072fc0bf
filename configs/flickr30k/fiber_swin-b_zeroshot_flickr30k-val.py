# Phrase grounding with pre-trained FIBER-B on the validation split.
_base_ = './fiber_swin-b_zeroshot_flickr30k.py'
test_dataloader = dict(dataset=dict(ann_file='mdetr_annotations/final_flickr_separateGT_val.json'))
