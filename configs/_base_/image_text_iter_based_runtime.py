# image_text_runtime.py for iteration-based loops.
_base_ = './image_text_runtime.py'
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=5000),
    # else the points of all validations lie at step 0 in TensorBoard
    logger=dict(log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
