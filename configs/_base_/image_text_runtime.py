# default_runtime.py for image-text tasks: there are no boxes to draw, and an objective may leave
# parts of the model unused.
_base_ = './default_runtime.py'
default_hooks = dict(
    {name: hook for name, hook in _base_.default_hooks.items() if name != 'visualization'},
    _delete_=True,
    # a resumed run keeps the queue of the contrastive objective
    contrast_queue=dict(type='ContrastQueueHook'),
    # warns in the log if splits overlap, as the paper's do
    split_check=dict(type='SplitCheckHook'),
)
visualizer = dict(type='Visualizer')
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel', find_unused_parameters=True, broadcast_buffers=False
)
