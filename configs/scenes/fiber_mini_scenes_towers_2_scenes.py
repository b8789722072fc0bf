# Second step of FIBER-mini's image tower: the same labels, of whole scenes.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_towers_2_scenes.py --launcher pytorch
_base_ = './fiber_mini_scenes_towers_1_object.py'
load_from = 'work_dirs/fiber_mini_scenes_towers_1_object/iter_2000.pth'

train_dataloader = dict(dataset=dict(data_root='data/scenes/', pipeline=_base_.whole_scenes))
