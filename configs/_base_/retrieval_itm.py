# Recipe of retrieval by matching (ITM): 8 GPUs with 8 pairs each and 16 iterations per step, for
# batches of 1024 pairs. All pairs are scored, as in the paper.
_base_ = './retrieval_itc.py'
optim_wrapper = dict(accumulative_counts=16)
val_cfg = dict(rerank='exhaustive')
test_cfg = dict(rerank='exhaustive')
default_hooks = dict(checkpoint=dict(save_best='retrieval/itm/R@1_sum'))
auto_scale_lr = dict(base_batch_size=64)
