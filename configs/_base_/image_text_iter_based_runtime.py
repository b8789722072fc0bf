# image_text_runtime.py for iteration-based loops.
_base_ = './image_text_runtime.py'
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
log_processor = dict(by_epoch=False)
