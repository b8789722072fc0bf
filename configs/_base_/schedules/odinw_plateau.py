# The paper's fine-tuning on ODinW, few-shot or full: validated every epoch. The learning rate
# drops after more than 3 evaluations in a row below the best (an AP of 0 does not count), and
# training ends after 8. No warm-up, no averaged weights. Use with keep_best_runtime.py: the best
# weights are tested.
monitor = 'coco/bbox_mAP'
optim_wrapper = dict(
    type='MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    constructor='FIBEROptimWrapperConstructor',
    paramwise_cfg=dict(text_lr=1e-5),
)
param_scheduler = [
    dict(type='PlateauLR', monitor=monitor, rule='greater', factor=0.1, patience=3, min_value=1e-6),
]
train_cfg = dict(type='ResumableEpochBasedTrainLoop', max_epochs=200, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# The reference counts a tie as an improvement. Its AP is exact, while mmdet's is rounded to
# thousandths, where ties are common and would prolong a finished training.
custom_hooks = [dict(type='PlateauStoppingHook', monitor=monitor, patience=8, min_delta=1e-6)]
auto_scale_lr = dict(enable=False, base_batch_size=4)
