# Recipe of retrieval by contrast (ITC): schedule, runtime, loops and metric, for batches of 1024
# pairs on 8 GPUs.
_base_ = ['./schedules/image_text_10e.py', './image_text_runtime.py']
val_cfg = dict(type='RetrievalValLoop')
test_cfg = dict(type='RetrievalTestLoop')
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='retrieval/itc/R@1_sum', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=1024)
