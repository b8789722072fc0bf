# The paper's fine-tuning on COCO and LVIS: 24 epochs at batch 32, learning-rate drops at 0.67 and
# 0.89 of all iterations, linear warm-up of 2000 iterations from a thousandth, no gradient
# clipping, fp16 (bfloat16 on a CPU), and averaged weights that are recorded but, as in the
# reference, not evaluated.
#
# Differs from the reference: batches with images without boxes are trained on, unless the dataset
# filters such images (the reference skips a batch if all, or more than a tenth, of its images are
# empty). They teach what is not there, and with every process taking every step, none has to
# wait.
max_epochs = 24
optim_wrapper = dict(
    type='MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=1e-4),
    constructor='FIBEROptimWrapperConstructor',
    paramwise_cfg=dict(text_lr=1e-5),
)
param_scheduler = [
    # `end` is one more, because mmengine's factor reaches 1 one step before it
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=2001),
    dict(
        type='RoundedMultiStepLR',
        by_epoch=True,
        convert_to_iter_based=True,
        milestones=[0.67 * max_epochs, 0.89 * max_epochs],
        gamma=0.1,
    ),
]
train_cfg = dict(type='ResumableEpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# custom_hooks = [] switches this off; evaluate='ema', save='ema' do as mmengine does
custom_hooks = [dict(type='ChosenWeightsEMAHook', evaluate='model', save='model', momentum=0.001)]
auto_scale_lr = dict(enable=False, base_batch_size=32)
