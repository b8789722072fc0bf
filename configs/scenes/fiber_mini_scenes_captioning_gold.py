# FIBER-mini captions generated scenes, second stage: GOLD.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_captioning_gold.py \
#       --cfg-options load_from=CAPTIONING
_base_ = './fiber_mini_scenes_captioning.py'
load_from = None
model = dict(heads=dict(caption=dict(objective=dict(type='GoldLoss', refresh_every=200))))
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
)
