# FIBER-mini captions generated scenes.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_captioning.py --launcher pytorch
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_pretrain/iter_2000.pth'
model = dict(heads=dict(caption=dict(type='CaptionHead')))
train_dataloader = dict(batch_size=16, dataset=dict(texts_per_image=4))
references = dict(
    type='CaptionMetric', ann_file='data/scenes/annotations/captions_karpathy.json', splits=('val',)
)
val_evaluator = [references, dict(type='SceneCaptionAccuracy')]
test_evaluator = [dict(references, splits=('test',)), dict(type='SceneCaptionAccuracy')]
default_hooks = dict(checkpoint=dict(interval=350))
