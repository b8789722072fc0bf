# OmniLabel with plain prompts, without "Detect: ".
_base_ = './fiber_swin-b_zeroshot_omnilabel.py'
test_dataloader = dict(dataset=dict(prefix=''))
