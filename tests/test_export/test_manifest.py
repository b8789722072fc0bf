"""What is wrong with a folder of exported programs is said in one line."""

import json
import shutil

import pytest

from fiber_mmdet.export import CannotExport, export_model
from fiber_mmdet.export.exported import ExportedError, Manifest
from fiber_mmdet.export.exporting import check_folder
from fiber_mmdet.export.image_text_runner import ImageTextRunner
from fiber_mmdet.export.runner import GroundingRunner
from fiber_mmdet.outputs import OutputError


@pytest.fixture
def folder(exported_detector, tmp_path):
    return shutil.copytree(exported_detector, tmp_path / 'exported')


def change(folder, **fields):
    path = folder / 'manifest.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(folder, *words, runner=GroundingRunner, **options):
    with pytest.raises(ExportedError) as caught:
        runner(folder, **options)
    said = str(caught.value)
    assert '\n' not in said
    for word in words:
        assert word in said, said


def test_a_folder_without_programs(tmp_path):
    refused(tmp_path, 'manifest.json', 'fiber export')
    refused(tmp_path / 'nowhere', 'no such folder')


def test_files_that_are_missing_or_others(folder):
    tail = folder / 'onnx' / 'tail.onnx'
    content = bytearray(tail.read_bytes())
    content[-1] ^= 1
    tail.write_bytes(content)
    refused(folder, 'tail.onnx', 'checksum', 'again')
    tail.unlink()
    refused(folder, 'tail.onnx', 'missing')
    (folder / 'tokenizer.json').unlink()
    refused(folder, 'tokenizer.json', 'missing')


def test_a_newer_version(folder):
    change(folder, version=2)
    refused(folder, 'version 2', 'newer fiber_mmdet')


@pytest.mark.parametrize(
    'fields, words',
    [
        (dict(format='other'), ('format', 'fiber_mmdet export')),
        (dict(programs=[]), ('programs', 'object')),
        (dict(programs={}), ('image_prefix',)),
        (dict(image=dict(rule='short_side')), ('image', 'scale')),
        (dict(detection=None), ('detection',)),
        (dict(text={}), ('text', 'max_tokens')),
    ],
)
def test_fields_that_are_wrong(folder, fields, words):
    change(folder, **fields)
    with pytest.raises(ValueError) as caught:
        GroundingRunner(folder, threads=1).set_image(str(folder / 'none.png'))
    for word in words:
        assert word in str(caught.value)


def test_a_model_of_the_other_kind(exported_detector, exported_image_text):
    refused(exported_detector, 'GroundingRunner', runner=ImageTextRunner)
    refused(exported_image_text, 'ImageTextRunner')


def test_a_backend_that_was_not_exported(exported_image_text):
    refused(exported_image_text, 'pt2', runner=ImageTextRunner, backend='torch')
    refused(exported_image_text, 'onnxruntime, torch', runner=ImageTextRunner, backend='tensorrt')


def test_the_manifest_says_what_may_vary(exported_detector):
    programs = Manifest.read(exported_detector)['programs']
    assert programs['image_prefix']['inputs']['images']['shape'][0] == 'images'
    assert programs['tail']['inputs']['mask'] == dict(dtype='bool', shape=['pairs', 'length'])
    assert list(programs['tail']['outputs']) == ['token_logits', 'boxes', 'centerness']


def test_only_an_earlier_export_is_replaced(folder, tmp_path):
    assert check_folder(folder) == folder
    assert check_folder(tmp_path / 'new') == tmp_path / 'new'
    (tmp_path / 'mine').mkdir()
    assert check_folder(tmp_path / 'mine')
    (tmp_path / 'mine' / 'thesis.txt').write_text('')
    with pytest.raises(OutputError, match='no earlier export'):
        check_folder(tmp_path / 'mine')
    with pytest.raises(OutputError, match='is a file'):
        check_folder(tmp_path / 'mine' / 'thesis.txt')


@pytest.mark.parametrize(
    'options, words',
    [
        ({'test_pipeline.1': dict(type='FixScaleResize', scale=(9, 9))}, 'FixScaleResize'),
        ({'test_pipeline.1.backend': 'cv2'}, 'cv2'),
        ({'model.data_preprocessor.pad_size_divisor': 1}, 'pad_size_divisor=1'),
    ],
)
def test_what_cannot_be_exported_is_named(detector_files, tmp_path, options, words):
    from mmengine.config import Config

    config = Config.fromfile(detector_files[0])
    config.merge_from_dict(options)
    with pytest.raises(CannotExport, match=words):
        export_model(tmp_path / 'out', config, 'random')
    assert not (tmp_path / 'out').exists()
