# FIBER-B on COCO captioning, third stage: five sampled captions per image, with CIDEr-D as the
# reward. Make the document frequencies once:
#   python tools/build_cider_df.py data/karpathy/dataset_coco.json --splits train \
#       --out data/karpathy/cider_df.json
#   python tools/train.py CONFIG --cfg-options load_from=GOLD_STAGE
_base_ = './fiber_swin-b_mle_8xb8-10e_coco.py'
# baseline='leave-one-out' and legacy=False fix the reference's reward
model = dict(
    heads=dict(
        caption=dict(
            objective=dict(
                type='CiderLoss',
                df_file='data/karpathy/cider_df.json',
                samples=5,
                mle_weight=0.3,
                baseline=1.0,
                legacy=True,
            ),
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=1e-6))
