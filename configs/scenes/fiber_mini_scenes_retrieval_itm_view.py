# FIBER-mini's retrieval on generated scenes by matching alone, as in the paper: in training, half
# of the captions get another scene; in testing, all pairs are scored, without contrast first.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_retrieval_itm_view.py
_base_ = './fiber_mini_scenes_retrieval.py'
model = dict(heads=dict(itc=None, itm=dict(type='ITMHead', negatives='view')))
train_dataloader = dict(dataset=dict(false_image=True))
val_dataloader = dict(dataset=dict(indices=40))
val_cfg = dict(rerank='exhaustive')
test_cfg = dict(rerank='exhaustive')
