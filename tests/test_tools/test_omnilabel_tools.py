"""OmniLabel from file to figures: FIBER-mini on generated scenes, through the tools."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.runner import CheckpointLoader

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = ['{configs}/_base_/models/fiber_mini.py', '{configs}/_base_/datasets/omnilabel.py',
          '{configs}/_base_/default_runtime.py']
model = dict(test_cfg=dict(exclusive_boxes=True))
pipeline = list(_base_.test_pipeline)
pipeline[1] = dict(type='ShortSideResize', scale=(192, 192))
test_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    data_root='{root}', ann_file='{root}/omnilabel.json', pipeline=pipeline, prefix=''))
test_evaluator = dict(ann_file='{root}/omnilabel.json', outfile_prefix='{root}/out/val')
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory, tiny_scenes):
    """Six scenes, each asked for all categories, its own expressions and those of the scene before.

    Of the expressions of another scene some fit by chance: they are asked for only if their
    category is not in the scene.
    """
    folder = tmp_path_factory.mktemp('omnilabel')
    (folder / 'images').symlink_to(tiny_scenes / 'images/test')
    coco, expressions = (
        json.loads((tiny_scenes / f'annotations/{name}_test.json').read_text())
        for name in ('coco', 'refexp')
    )
    images = {image['file_name']: image['id'] for image in coco['images']}
    ids = list(images.values())
    name_of = {category['id']: category['name'] for category in coco['categories']}
    texts = {}  # (text, kind) -> image ids

    def asked(text, kind, image):
        return texts.setdefault((text, kind), []).append(image)

    boxes = []
    for row in expressions['images']:
        image = images[row['file_name']]
        (box,) = (b for b in expressions['annotations'] if b['image_id'] == row['id'])
        text = row['caption']
        asked(text, 'object_description', image)
        boxes.append((image, box['bbox'], (text, 'object_description')))
        other = ids[(ids.index(image) + 1) % len(ids)]
        there = {name_of[b['category_id']] for b in coco['annotations'] if b['image_id'] == other}
        if not any(name.split()[1] in text for name in there):
            asked(text, 'object_description', other)
    for name in name_of.values():
        for image in ids:
            asked(name, 'object_category', image)
    for box in coco['annotations']:
        kind = (name_of[box['category_id']], 'object_category')
        boxes.append((box['image_id'], box['bbox'], kind))
    numbers = {text: number for number, text in enumerate(texts)}
    content = dict(
        images=[dict(id=i, file_name=f'images/{name}') for name, i in images.items()],
        descriptions=[
            dict(id=numbers[text], text=text[0], image_ids=own, anno_info=dict(type=text[1]))
            for text, own in texts.items()
        ],
        annotations=[
            dict(id=i, image_id=image, bbox=bbox, description_ids=[numbers[text]])
            for i, (image, bbox, text) in enumerate(boxes)
        ],
    )
    (folder / 'omnilabel.json').write_text(json.dumps(content))
    (folder / 'config.py').write_text(CONFIG.format(configs=CHECKOUT / 'configs', root=folder))
    return folder


@pytest.fixture
def run(monkeypatch):
    """``run(tool, *arguments)`` in this process."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        try:
            runpy.run_path(str(CHECKOUT / 'tools' / tool), run_name='__main__')
        except SystemExit as end:
            assert not end.code

    return run


def test_figures_of_the_packaged_model(place, run, capsys):
    run('check_data.py', place / 'config.py', '--splits', 'test')
    assert 'descriptions' in capsys.readouterr().out
    weights = CHECKOUT / 'fiber_mmdet/assets/fiber_mini/weights.pth'
    run(
        'test.py',
        place / 'config.py',
        weights,
        '--work-dir',
        place / 'work',
        '--out',
        place / 'predictions.pkl',
        '--cfg-options',
        'experiment_name=omnilabel',
        'visualizer.name=omnilabel',
    )
    (file,) = place.glob('work/*/*.json')
    found = json.loads(file.read_text())
    assert found['omnilabel/AP-categ'] > 0.6 and found['omnilabel/AP-descr'] > 0.7
    assert found['omnilabel/AP-descr-pos'] >= found['omnilabel/AP-descr']
    rows = json.loads((place / 'out/val.omnilabel.json').read_text())
    content = json.loads((place / 'omnilabel.json').read_text())
    asked = {text['id']: text['image_ids'] for text in content['descriptions']}
    for row in rows:
        assert len(row['description_ids']) == len(row['scores'])
        assert all(row['image_id'] in asked[i] for i in row['description_ids'])
    again = place / 'again.json'
    run('eval_metric.py', place / 'config.py', place / 'predictions.pkl', '--out', again)
    scored = json.loads(again.read_text())
    assert scored == {name: pytest.approx(found[name]) for name in scored} and len(scored) == 13
