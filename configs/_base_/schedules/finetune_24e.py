# The paper's fine-tuning on COCO and LVIS: 24 epochs at batch 32, steps at 0.67 and 0.89 of all
# iterations, linear warm-up of 2000 iterations from a thousandth, no clipping, fp16 (bfloat16 on a
# CPU), an average of the weights that is recorded but, as in the reference, not evaluated.
#
# Other than the reference, batches with images without boxes are trained on, unless the data set
# filters such images (the reference skips a batch if more than a tenth, or all, of its images are
# empty): they teach what is not there, and every process takes every step, so that none waits.
max_epochs = 24
optim_wrapper = dict(
    type='MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=1e-4),
    constructor='FIBEROptimWrapperConstructor',
    paramwise_cfg=dict(text_lr=1e-5),
)
param_scheduler = [
    # `end` is one more: mmengine's factor reaches 1 at the last step before it
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=2001),
    dict(
        type='RoundedMultiStepLR',
        by_epoch=True,
        convert_to_iter_based=True,
        milestones=[0.67 * max_epochs, 0.89 * max_epochs],
        gamma=0.1,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# custom_hooks = [] switches it off; evaluate='ema', save='ema' for mmengine's habit
custom_hooks = [dict(type='ChosenWeightsEMAHook', evaluate='model', save='model', momentum=0.001)]
auto_scale_lr = dict(enable=False, base_batch_size=32)
