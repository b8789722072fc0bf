"""NLVR2's json lines."""

import json

import pytest

from fiber_mmdet.datasets import NLVR2Dataset


def line(identifier, label='True', **fields):
    return json.dumps(
        dict(identifier=identifier, sentence=f'About {identifier}.', label=label, **fields)
    )


def read(tmp_path, files, **kwargs):
    """Files are a dictionary of a name and lines."""
    for name, lines in files.items():
        (tmp_path / name).write_text('\n'.join(lines) + '\n')
    kwargs.setdefault('ann_files', list(files))
    return NLVR2Dataset(data_root=str(tmp_path), **kwargs)


def paths(dataset, i):
    return [
        dataset[i]['views'][name]['img_path'].removeprefix(dataset.data_root)
        for name in ('image', 'image_1')
    ]


def test_published_paths_and_labels(tmp_path):
    dataset = read(
        tmp_path,
        {
            'train.json': [
                line('train-10171-0-0', directory=96),
                '',
                line('train-7-1-2', 'False', directory=0),
            ],
            'dev.json': [line('dev-850-0-1')],
            'test1.json': [line('test1-0-1-0')],
        },
    )
    assert [paths(dataset, i) for i in range(4)] == [
        ['/images/train/96/train-10171-0-img0.png', '/images/train/96/train-10171-0-img1.png'],
        ['/images/train/0/train-7-1-img0.png', '/images/train/0/train-7-1-img1.png'],
        ['/dev/dev-850-0-img0.png', '/dev/dev-850-0-img1.png'],
        ['/test1/test1-0-1-img0.png', '/test1/test1-0-1-img1.png'],
    ]
    assert [dataset[i]['label'] for i in range(4)] == [1, 0, 1, 1]
    assert [dataset[i]['split'] for i in range(4)] == ['train', 'train', 'dev', 'test1']
    sample = dataset[2]
    assert sample['text'] == 'About dev-850-0-1.' and sample['identifier'] == 'dev-850-0-1'
    assert sample['image_id'] == 'dev-850-0' and list(sample['views']) == ['image', 'image_1']


def test_splits_are_called_by_their_key_and_keep_apart(tmp_path):
    lines = [line('dev-1-0-0', label=False)]
    dataset = read(
        tmp_path,
        {'a.json': lines, 'b.json': lines},
        ann_files=dict(balanced='b.json', dev='a.json'),
        image_template=dict(dev='{split}/{stem}{side}', balanced='{identifier}/{side}'),
    )
    assert [dataset[i]['split'] for i in range(2)] == ['balanced', 'dev']
    assert paths(dataset, 0)[1] == '/dev-1-0-0/1' and paths(dataset, 1)[1] == '/dev/dev-1-01'
    assert dataset[0]['label'] == 0


def test_false_images_are_first_images_of_other_pairs(tmp_path):
    dataset = read(
        tmp_path,
        {'dev.json': [line('dev-1-0-0'), line('dev-1-0-1'), line('dev-2-0-0')]},
        false_image=True,
    )
    assert {dataset[0]['views']['false_image']['img_path'] for _ in range(20)} == {
        f'{tmp_path}/dev/dev-2-0-img0.png'
    }


@pytest.mark.parametrize(
    'files, kwargs, error, message',
    [
        ({'dev.json': [line('dev-1-0-0'), '{']}, {}, ValueError, r'dev\.json, line 2 is not json'),
        ({'dev.json': ['[1]']}, {}, ValueError, r'dev\.json, line 1 is not a json object'),
        (
            {'dev.json': ['{"identifier": "dev-1-0-0"}']},
            {},
            ValueError,
            r"line 1 has no 'sentence', 'label' \(it has 'identifier'\)",
        ),
        (
            {'dev.json': [line('dev-1-0-0', 'true')]},
            {},
            ValueError,
            "line 1 has label 'true': it must be 'True' or 'False'",
        ),
        (
            {'train.json': [line('train-1-0-0')]},
            {},
            ValueError,
            r"does not fit .*train\.json, line 1 \(KeyError\('directory'\)\)",
        ),
        ({}, dict(ann_files=['test1.json']), FileNotFoundError, r'no file .*test1\.json'),
        (
            {'x.json': [line('x-1-0-0')]},
            {},
            ValueError,
            "no path for the images of split 'x' .it has train, dev, test1.: add it",
        ),
        ({'dev.json': []}, {}, ValueError, r'no sample in .*dev\.json'),
    ],
)
def test_faults_are_named(tmp_path, files, kwargs, error, message):
    with pytest.raises(error, match=message):
        read(tmp_path, files, **kwargs)
