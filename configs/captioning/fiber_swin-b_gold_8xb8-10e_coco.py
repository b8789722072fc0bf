# FIBER-B on COCO captioning, second stage: GOLD, which weights each next word by its likelihood.
#   python tools/train.py CONFIG --cfg-options load_from=MLE_STAGE
_base_ = './fiber_swin-b_mle_8xb8-10e_coco.py'
# legacy_denominator=False divides by the number of words, not of padding tokens
model = dict(
    heads=dict(
        caption=dict(
            objective=dict(
                type='GoldLoss', refresh_every=1000, min_weight=0.1, legacy_denominator=True
            )
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=1e-5))
