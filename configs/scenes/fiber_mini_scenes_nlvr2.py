# FIBER-mini judges statements about pairs of generated scenes.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_nlvr2.py --launcher pytorch
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_nlvr2.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_pretrain/iter_2000.pth'
model = dict(heads=dict(nlvr2=dict(type='NLVR2Head')))
train_dataloader = dict(batch_size=16, dataset=dict(texts_per_image=2))
default_hooks = dict(checkpoint=dict(interval=300))
