"""A tiny training with several tasks, on generated scenes: a config and its dataloader."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = ['{checkout}/configs/scenes/fiber_mini_scenes_retrieval.py']
load_from = None
model = dict(
    backbone=dict(
        pretrained=None, frozen_stages=1, image=dict(window=2, drop_path=0.0),
        text=dict(dropout=0.0)),
    heads=dict(
        itc=dict(queue_size=36, gather=True), vqa=dict(type='VQAHead', num_answers=36),
        nlvr2=dict(type='NLVR2Head')),
    tasks=dict(caption=('itc',), question=('vqa',), statement=('nlvr2',)))
pipeline = [_base_.read_views, _base_.pack]
pipeline[0]['transforms'][1].update(scale=(64, 64))
captions = dict(
    type='KarpathyCaptionDataset', data_root='{root}/', splits='train',
    ann_file='annotations/captions_karpathy.json',
    image_template='images/{{filepath}}/{{filename}}')
questions = dict(
    type='VQAv2Dataset', data_root='{root}/', answer_file='annotations/vqa_answers.json',
    question_files='annotations/vqa_train_questions.json',
    annotation_files='annotations/vqa_train_annotations.json',
    image_template='images/train/{{image_id:06d}}.jpg')
statements = dict(
    type='NLVR2Dataset', data_root='{root}/', ann_files=dict(train='annotations/nlvr2_train.jsonl'),
    image_template='nlvr2/{{split}}/{{stem}}-img{{side}}.jpg')
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    sampler=dict(
        _delete_=True, type='OneSourcePerBatchSampler', batch_size=4, source_ratio=[2, 1],
        shuffle={shuffle}),
    dataset=dict(
        _delete_=True, type='ConcatDataset', ignore_keys=['answers'],
        datasets=[
            dict(type='TasksOfImages', datasets=dict(caption=captions, question=questions),
                 texts_per_image=dict(caption={texts}, question={texts}), pipeline=pipeline),
            dict(type='TasksOfImages', datasets=dict(statement=statements),
                 texts_per_image=dict(statement={texts}), pipeline=pipeline)]))
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(_delete_=True, type='SGD', lr=0.05, weight_decay=0.01))
param_scheduler = []
train_cfg = dict(max_iters=4, val_interval=5)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
log_processor = dict(window_size=1)
randomness = dict(seed=1)
visualizer = dict(name='{name}')  # a new one, which writes into the folder of this training
"""


def write_config(folder: Path, root: Path, shuffle: bool, texts: int) -> Path:
    """A config file; with 9 texts, those of an image are all there, equally many of each image."""
    file = folder / 'several.py'
    file.write_text(
        CONFIG.format(
            checkout=CHECKOUT, root=root, shuffle=shuffle, texts=texts, name=f'several-{texts}'
        )
    )
    return file
