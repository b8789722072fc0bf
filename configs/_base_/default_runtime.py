custom_imports = dict(imports=['fiber_mmdet'], allow_failed_imports=False)
default_scope = 'mmdet'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # mmengine's CheckpointHook, from which a kill or a full disk takes nothing
    checkpoint=dict(type='WholeCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # score_thr is that of tools/demo.py
    visualization=dict(type='SeenImageVisualizationHook', score_thr=0.5),
    # stops a test or a resumed run whose checkpoint does not fit the model; says where a training
    # starts
    checkpoint_check=dict(type='CheckpointCheckHook'),
    # says what is about to run; warns of schedules that are not as long as the training
    summary=dict(type='RunSummaryHook'),
    # stops a training that has diverged, or that cannot learn
    training_check=dict(type='TrainingCheckHook'),
    # makes a resumed run draw the random numbers of an uninterrupted one
    randomness=dict(type='SeedEveryIterHook'),
    # says what a resumed run changes that has another number of processes, or another batch
    changed_batch=dict(type='ChangedBatchHook'),
    # writes a checkpoint when a scheduler ends the job (SIGTERM, SIGUSR1)
    stop=dict(type='StopOnSignalHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
# draws on the pixels that the model saw
visualizer = dict(type='SeenImageVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
