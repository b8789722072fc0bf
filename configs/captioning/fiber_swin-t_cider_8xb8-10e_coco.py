# FIBER-T on COCO captioning at 384 pixels, third stage: five sampled captions per image, with
# CIDEr-D as the reward. Make the document frequencies once:
#   python tools/build_cider_df.py data/karpathy/dataset_coco.json --splits train \
#       --out data/karpathy/cider_df.json
#   python tools/train.py CONFIG --cfg-options load_from=GOLD_STAGE
_base_ = './fiber_swin-t_mle_8xb8-10e_coco.py'
model = dict(
    heads=dict(
        caption=dict(objective=dict(type='CiderLoss', df_file='data/karpathy/cider_df.json'))
    )
)
optim_wrapper = dict(optimizer=dict(lr=1e-6))
