# FIBER-mini finds the captions of a generated scene and the scene of a caption, by contrast.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_retrieval.py --launcher pytorch
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_pretrain/iter_2000.pth'
model = dict(heads=dict(itc=dict(type='ITCHead', queue_size=0)))
train_dataloader = dict(batch_size=32, dataset=dict(texts_per_image=2))
val_cfg = dict(type='RetrievalValLoop')
test_cfg = dict(type='RetrievalTestLoop')
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=300))
auto_scale_lr = dict(base_batch_size=32)
