# FIBER-B on COCO captioning, second stage: GOLD, next words weighted by how likely they were.
#   python tools/train.py CONFIG --cfg-options load_from=MLE_STAGE
_base_ = './fiber_swin-b_mle_8xb8-10e_coco.py'
# legacy_denominator=False divides by the number of words instead of that of pads
model = dict(
    heads=dict(
        caption=dict(
            objective='gold', gold=dict(refresh_every=1000, min_weight=0.1, legacy_denominator=True)
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
