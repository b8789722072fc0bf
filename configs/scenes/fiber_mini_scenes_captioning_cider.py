# FIBER-mini captions generated scenes, last stage: CIDEr-D as the reward.
#   python tools/build_cider_df.py data/scenes/annotations/captions_karpathy.json --splits train \
#       --out data/scenes/annotations/cider_df.json
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_captioning_cider.py \
#       --cfg-options load_from=CAPTIONING
_base_ = './fiber_mini_scenes_captioning.py'
load_from = None
model = dict(
    heads=dict(
        caption=dict(
            objective=dict(
                type='CiderLoss', df_file='data/scenes/annotations/cider_df.json', samples=5
            ),
        )
    )
)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=2e-5, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
)
