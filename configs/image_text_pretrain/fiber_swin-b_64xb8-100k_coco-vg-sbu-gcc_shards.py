# The same pre-training on shards: nothing is read by index, and no annotation file is held in
# memory. Those of the four datasets, in data/shards/:
#   for part in 0:coco 1:visual_genome 2:sbu 3:conceptual_captions; do
#       python tools/make_shards.py \
#           configs/image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py \
#           data/shards/${part#*:} --part ${part%:*} --shuffle 0
#   done
# Shards that img2dataset wrote (CC3M, CC12M, SBU, LAION) are read as they are, without
# caption_field: their captions are txt files.
_base_ = './fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py'
shards = dict(
    type='WebImageTextDataset',
    shards='*.tar',
    caption_field='captions',
    shuffle=2000,  # pairs; those of an image share its bytes
    pipeline=_base_.pipeline,
)
train_dataloader = dict(
    sampler=None,
    dataset=dict(
        _delete_=True,
        type='WeightedMixDataset',
        datasets=[
            dict(shards, data_root='data/shards/coco/', shuffle=10000),
            # fifty phrases an image
            dict(shards, data_root='data/shards/visual_genome/', shuffle=100000),
            dict(shards, data_root='data/shards/sbu/'),
            dict(shards, data_root='data/shards/conceptual_captions/'),
        ],
        # thousands of pairs: each is as likely as any other, as in the base config
        weights=[414, 5408, 841, 2848],
    ),
)
