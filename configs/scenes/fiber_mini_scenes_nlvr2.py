# FIBER-mini judges statements about pairs of generated scenes.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_nlvr2.py
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_nlvr2.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_pretrain_from_detector/iter_1200.pth'
model = dict(heads=dict(nlvr2=dict(type='NLVR2Head')))
train_dataloader = dict(batch_size=16)
default_hooks = dict(checkpoint=dict(interval=300))
