# Phrase grounding of pre-trained FIBER-B on the validation split.
_base_ = './fiber_swin-b_zeroshot_flickr30k.py'
test_dataloader = _base_.val_dataloader
