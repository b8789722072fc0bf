# default_runtime.py for image-level tasks: no boxes to draw, and parts of the model that an
# objective does not reach.
_base_ = './default_runtime.py'
default_hooks = dict(
    {name: hook for name, hook in _base_.default_hooks.items() if name != 'visualization'},
    _delete_=True,
    # a resumed run goes on with the pairs that contrast compares with
    contrast_queue=dict(type='ContrastQueueHook'),
    # the paper's splits overlap; the log then says so
    split_check=dict(type='SplitCheckHook'),
)
visualizer = dict(type='Visualizer')
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel', find_unused_parameters=True, broadcast_buffers=False
)
