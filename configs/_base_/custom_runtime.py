# keep_best_runtime.py with pictures: a sheet of predictions beside the truth after each validation,
# curves of losses and AP at the end.
_base_ = './keep_best_runtime.py'
default_hooks = dict(
    logger=dict(interval=10),
    predictions=dict(type='PredictionSheetHook'),
    curves=dict(type='TrainingCurvesHook'),
)
