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
    # pairs, which share the bytes of their images: some hundred images of Visual Genome
    shuffle=20000,
    pipeline=_base_.pipeline,
)
train_dataloader = dict(
    sampler=None,
    dataset=dict(
        _delete_=True,
        type='WeightedMixDataset',
        datasets=[
            dict(shards, data_root='data/shards/coco/'),
            dict(shards, data_root='data/shards/visual_genome/'),
            dict(shards, data_root='data/shards/sbu/', shuffle=2000),
            dict(shards, data_root='data/shards/conceptual_captions/', shuffle=2000),
        ],
        # thousands of pairs: each is as likely as any other, as in the base config
        weights=[414, 5408, 841, 2848],
    ),
)
