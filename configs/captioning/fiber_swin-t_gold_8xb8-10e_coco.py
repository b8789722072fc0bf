# FIBER-T on COCO captioning at 384 pixels, second stage: GOLD, which weights each next word by
# its likelihood.
#   python tools/train.py CONFIG --cfg-options load_from=MLE_STAGE
_base_ = './fiber_swin-t_mle_8xb8-10e_coco.py'
model = dict(heads=dict(caption=dict(objective=dict(type='GoldLoss'))))
optim_wrapper = dict(optimizer=dict(lr=1e-5))
