# FIBER-mini's retrieval on generated scenes by matching: contrast chooses hard negatives in
# training and candidates in testing.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_retrieval_itm.py
_base_ = './fiber_mini_scenes_retrieval.py'
model = dict(heads=dict(itm=dict(type='ITMHead')))
val_cfg = dict(rerank='top-k', top_k=32)
test_cfg = dict(rerank='top-k', top_k=32)
val_evaluator = [dict(type='RetrievalRecall'), dict(type='MatchingAccuracy')]
test_evaluator = val_evaluator
