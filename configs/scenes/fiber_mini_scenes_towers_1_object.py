# First step of FIBER-mini's image tower: scenes of one object each, 96 pixels wide, are classified
# by several labels. FIBER starts from a Swin that was trained on classification; this one learns
# shapes much faster where there is only one.
#   python tools/make_scenes.py data/scenes_one --train 8000 --max-objects 1 --zoom 2 \
#       --image-size 96 --train-tags
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_towers_1_object.py --launcher pytorch
# The next steps are fiber_mini_scenes_towers_2_scenes.py and fiber_mini_scenes_towers_3_words.py.
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_tags.py',
    '../_base_/schedules/image_text_mini.py',
    '../_base_/image_text_iter_based_runtime.py',
]
max_iters = 2000
model = dict(heads=dict(tags=dict(type='ImageTagHead', num_tags=217)))
whole_scenes = _base_.train_pipeline
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        data_root='data/scenes_one/',
        pipeline=[
            dict(type='EachView', transforms=[_base_.load_view]),
            _base_.flip,
            dict(_base_.read_tags, tags='data/scenes_one/annotations/tags.json'),
            _base_.pack,
        ],
    ),
)
# only pre-training on tags: there is nothing to compare with on the other splits
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters)
default_hooks = dict(checkpoint=dict(interval=500, max_keep_ckpts=2))
