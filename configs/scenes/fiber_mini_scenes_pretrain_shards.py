# Image-text pre-training of FIBER-mini on captions from shards:
#   python tools/make_scenes.py data/scenes --train 6000
#   python tools/make_shards.py configs/scenes/fiber_mini_scenes_retrieval.py data/scenes_shards \
#       --samples 500
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_pretrain_shards.py --launcher pytorch
_base_ = './fiber_mini_scenes_pretrain.py'
model = dict(tasks=None)
train_dataloader = dict(
    sampler=None,
    dataset=dict(
        _delete_=True,
        type='WebImageTextDataset',
        shards='*.tar',
        data_root='data/scenes_shards/',
        caption_field='captions',
        texts_per_image=2,
        pipeline=_base_.train_dataloader.dataset.pipeline,
    ),
)
