# Flickr30k's captions in Karpathy's splits, for retrieval at 576 pixels. For the paper's splits,
# see coco_captions.py.
_base_ = './coco_captions.py'
captions = dict(
    type='KarpathyCaptionDataset',
    data_root='data/',
    ann_file='karpathy/dataset_flickr30k.json',
    data_prefix=dict(img='flickr30k/flickr30k_images/'),
    image_template='{filename}',
)

train_dataloader = dict(dataset=captions)
val_dataloader = dict(dataset=captions)
test_dataloader = dict(dataset=captions)
