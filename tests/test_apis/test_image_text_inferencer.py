"""The image-text inferencer: predictions of tools/test.py, ways to ask, and helpful errors."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.apis import ImageError, ImageTextInferencer, LoadingError, MissingHead
from fiber_mmdet.checkpoints import ConversionError
from fiber_mmdet.weights import UnknownWeights, catalogue
from image_text_model import HEADS, make_config
from official_files import write_image_text

QUESTIONS = ['how many red circles are there?', 'is there a star?', 'what color is the ring?']
TEXTS = ['a red circle', 'two blue stars and a ring', 'a small heart', 'three large crosses']


def predicted(ask, task, root, head):
    """Samples of a test set, and what tools/test.py would predict with one head."""
    cfg = make_config(root, task)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    with patch.object(ask.model, 'predict_with', [head]), torch.no_grad():
        samples = ask.model.test_step(pseudo_collate([dataset[i] for i in range(5)]))
    views = [dataset.get_data_info(i)['views'] for i in range(5)]
    return samples, [[view['img_path'] for view in found.values()] for found in views]


# ---------------------------------------------------------- figures of tools/test.py
def test_answers_are_those_of_the_test(ask, tiny_scenes):
    samples, paths = predicted(ask, 'vqa', tiny_scenes, 'vqa')
    answers = ask.answer([path for (path,) in paths], [sample.text for sample in samples])
    assert [ask.answers.index(found.answer) for found in answers] == [
        sample.pred_answer for sample in samples
    ]
    assert [found.score for found in answers] == pytest.approx(
        [sample.pred_answer_score for sample in samples], abs=1e-5
    )


def test_an_official_file_is_the_same_model(ask, model_files, tmp_path, scenes):
    config, _ = model_files
    write_image_text(tmp_path / 'official.ckpt', ask.model)
    official = ImageTextInferencer(config, tmp_path / 'official.ckpt', device='cpu')
    assert official.answer(scenes[0], QUESTIONS) == ask.answer(scenes[0], QUESTIONS)


def test_verdicts_are_those_of_the_test(ask, tiny_scenes):
    samples, paths = predicted(ask, 'nlvr2', tiny_scenes, 'nlvr2')
    left, right = map(list, zip(*paths))
    verdicts = ask.judge(left, right, [sample.text for sample in samples])
    assert [found.true for found in verdicts] == [bool(s.pred_label) for s in samples]
    assert [found.probability for found in verdicts] == pytest.approx(
        [float(s.pred_scores[1]) for s in samples], abs=1e-5
    )
    assert len({round(found.probability, 3) for found in verdicts}) > 2
    swapped = ask.judge(right, left, [sample.text for sample in samples])
    assert swapped != verdicts


def test_captions_are_those_of_the_test(ask, tiny_scenes):
    samples, paths = predicted(ask, 'captioning', tiny_scenes, 'caption')
    assert ask.caption([path for (path,) in paths]) == [sample.pred_caption for sample in samples]


def test_matches_are_those_of_the_test(ask, tiny_scenes):
    samples, paths = predicted(ask, 'pretrain', tiny_scenes, 'itm')
    found = ask.match([path for (path,) in paths], [sample.text for sample in samples])
    assert found == pytest.approx([sample.pred_match for sample in samples], abs=1e-5)


def test_features_are_those_of_the_test(ask, tiny_scenes):
    samples, paths = predicted(ask, 'retrieval', tiny_scenes, 'itc')
    images = ask.embed_images([path for (path,) in paths])
    texts = ask.embed_texts([sample.text for sample in samples])
    assert np.stack([s.image_feature for s in samples]) == pytest.approx(images, abs=1e-5)
    assert np.stack([s.text_feature for s in samples]) == pytest.approx(texts, abs=1e-5)
    assert ask.embed_images(paths[0][0]).shape == ask.embed_texts('a star').shape == (24,)


# --------------------------------------------------------------------- ways to ask
def test_single_ones_go_with_all_others(ask, scenes):
    image = scenes[0]
    alone = [ask.answer(image, question) for question in QUESTIONS]
    assert [a.answer for a in ask.answer(image, QUESTIONS)] == [a.answer for a in alone]
    scores = [found.score for found in ask.answer([image] * 3, QUESTIONS)]
    assert scores == pytest.approx([found.score for found in alone], abs=1e-5)
    folder = ask.match(image.parent, TEXTS[0])
    assert folder == pytest.approx([ask.match(path, TEXTS[0]) for path in scenes], abs=1e-5)
    several = ask.judge(image, scenes[1:3], TEXTS[0])
    assert several[1].probability == pytest.approx(
        ask.judge(image, scenes[2], TEXTS[0]).probability, abs=1e-5
    )
    assert isinstance(ask.caption(image), str) and isinstance(ask.match(image, 'a'), float)


def test_an_image_is_encoded_once_for_all_its_questions(ask, scenes):
    encode = ask.model.encode_image
    with patch.object(ask.model, 'encode_image', side_effect=encode) as encoded:
        ask.answer([scenes[0], scenes[1], scenes[0], scenes[0]], [*QUESTIONS, 'a'])
    assert [len(call.args[0]) for call in encoded.call_args_list] == [2]


def test_an_encoded_image_stands_for_the_image(ask, scenes):
    encode = ask.model.encode_image
    with patch.object(ask.model, 'encode_image', side_effect=encode) as encoded:
        kept = ask.encode(scenes[0])
        answers = ask.answer(kept, QUESTIONS)
        matches = ask.match([kept, scenes[1], kept], TEXTS[:3])
        caption, maps = ask.caption(kept), ask.attention(kept, TEXTS[0])
    assert [len(call.args[0]) for call in encoded.call_args_list] == [1, 1]
    expected = ask.answer(scenes[0], QUESTIONS)
    assert [found.answer for found in answers] == [found.answer for found in expected]
    images = [scenes[0], scenes[1], scenes[0]]
    assert matches == pytest.approx(ask.match(images, TEXTS[:3]), abs=1e-5)
    assert caption == ask.caption(scenes[0]) and maps.image == str(scenes[0])
    np.testing.assert_allclose(maps.looks, ask.attention(scenes[0], TEXTS[0]).looks, atol=1e-5)
    with pytest.raises(ImageError, match='pass the images'):
        ask.collect([kept])


def test_a_text_is_encoded_once_for_images_one_after_the_other(ask, scenes):
    encode = ask.model.encode_text
    with patch.object(ask.model, 'encode_text', side_effect=encode) as encoded:
        for image in scenes[:3]:
            ask.match(image, 'a text that no other test reads')
    assert encoded.call_count == 1


def test_paths_arrays_and_pillow_images_are_the_same(ask, scenes):
    opened = Image.open(scenes[0])
    pixels = np.array(opened.convert('RGB'))
    for image in (str(scenes[0]), opened, pixels):
        assert torch.equal(ask.read(image), ask.read(scenes[0]))
    assert ask.read(pixels).dtype == torch.uint8 and ask.read(pixels).shape == (3, 64, 64)


def test_images_are_upright_unless_the_config_decides(ask, scenes, tmp_path):
    rotated = Image.open(scenes[0]).rotate(90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for display
    rotated.save(tmp_path / 'lying.png', exif=exif)
    lying = Image.open(tmp_path / 'lying.png')
    upright = ask.read(Image.open(scenes[0]))
    assert torch.equal(ask.read(tmp_path / 'lying.png'), upright)
    assert torch.equal(ask.read(lying), upright)
    as_configured = type(ask.read)(ask.config, upright=False)
    for image in (tmp_path / 'lying.png', lying):
        assert torch.equal(as_configured(image), ask.read(np.array(rotated)))


@pytest.mark.parametrize('images, texts', [(2, 3), (0, 1)])
def test_lists_have_to_fit(ask, scenes, images, texts):
    with pytest.raises(ValueError, match='lists go in pairs.*2 of.*3 of|list of images is empty'):
        ask.match(scenes[:images], TEXTS[:texts])


@pytest.mark.parametrize('text', ['', [], [1], ['a', ' ']])
def test_texts_have_to_be_texts(ask, scenes, text):
    with pytest.raises(ValueError, match='a text is a string that is not empty'):
        ask.match(scenes[0], text)


def test_unreadable_images(ask, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.jpg'):
        ask.caption(tmp_path / 'nowhere.jpg')
    (tmp_path / 'broken.jpg').write_bytes(b'nothing')
    with pytest.raises(ImageError, match='broken.jpg'):
        ask.caption(tmp_path / 'broken.jpg')


# ----------------------------------------------------------------------- retrieval
def test_unreadable_images_are_left_out_on_request(ask, scenes, tmp_path, caplog, monkeypatch):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    images = [broken, scenes[0], scenes[1], broken, scenes[2]]
    monkeypatch.setattr(ask, 'skip_unreadable', True)
    for size in (1, 3, 16):
        monkeypatch.setattr(ask, 'batch_size', size)
        caplog.clear()
        captions = ask.caption(images)
        assert captions == [None, *ask.caption(scenes[:2]), None, ask.caption(scenes[2])]
        assert '1 of 5 images cannot be read:' in caplog.text and caplog.text.count('broken') == 1
        matches = ask.match(images, TEXTS[0])
        assert matches[0] is matches[3] is None
        assert [matches[i] for i in (1, 2, 4)] == pytest.approx(ask.match(scenes[:3], TEXTS[0]))
        found = ask.judge(images, scenes[0], TEXTS[0])
        assert [verdict is None for verdict in found] == [True, False, False, True, False]
        features = ask.embed_images(images)
        assert np.isnan(features[[0, 3]]).all()
        assert features[[1, 2, 4]] == pytest.approx(ask.embed_images(scenes[:3]), abs=1e-5)
        hits = ask.retrieve(TEXTS[0], images, k=5)
        same = ask.retrieve(TEXTS[0], scenes[:3], k=5)
        assert [hit.index for hit in hits] == [(1, 2, 4)[hit.index] for hit in same]
        assert [hit.item for hit in hits] == [hit.item for hit in same]
        texts = ask.describe(images, TEXTS, rerank=True)
        assert texts[0] is texts[3] is None
        best = [hits[0].item for hits in ask.describe(scenes[:3], TEXTS, rerank=True)]
        assert [texts[i][0].item for i in (1, 2, 4)] == best
    assert ask.caption([broken, broken]) == [None, None]
    for ways in (ask.embed_images, ask.collect):
        with pytest.raises(ImageError, match='none of the 2 images'):
            ways([broken, broken])
        with pytest.raises(ImageError, match='broken.png'):
            ways(broken)
    with pytest.raises(ImageError, match='broken.png'):
        ask.match(broken, TEXTS)


def test_retrieval_by_contrast_is_by_cosine(ask, scenes):
    cosines = ask.embed_images(scenes) @ ask.embed_texts(TEXTS).T
    for column, hits in zip(cosines.T, ask.retrieve(TEXTS, scenes, k=3)):
        assert [hit.index for hit in hits] == np.argsort(-column)[:3].tolist()
        assert [hit.score for hit in hits] == pytest.approx(np.sort(column)[::-1][:3], abs=1e-5)
        assert [hit.item for hit in hits] == [scenes[hit.index] for hit in hits]
        assert all(hit.match is None for hit in hits)
    row = ask.describe(scenes[2], TEXTS)
    assert [hit.item for hit in row] == [TEXTS[i] for i in np.argsort(-cosines[2])]


def test_reranking_matches_the_nearest(ask, scenes):
    near = {hit.index for hit in ask.retrieve(TEXTS[1], scenes, k=4)}
    hits = ask.retrieve(TEXTS[1], scenes, k=3, rerank=True, candidates=4)
    chances = np.array(ask.match(scenes, TEXTS[1]))
    assert [hit.index for hit in hits] == sorted(near, key=lambda i: -chances[i])[:3]
    assert [hit.match for hit in hits] == pytest.approx(
        np.log(chances / (1 - chances))[[hit.index for hit in hits]], abs=1e-3
    )
    best = ask.describe(scenes[0], TEXTS, k=1, rerank=True)[0]
    assert best.item == TEXTS[int(np.argmax(ask.match(scenes[0], TEXTS)))]


def numbers(found):
    """Numbers of the images of each text."""
    return [[hit.index for hit in hits] for hits in found]


def test_a_collection_is_encoded_once(ask, scenes):
    collection = ask.collect(scenes)
    expected = numbers(ask.retrieve(text, scenes, k=2, rerank=True) for text in TEXTS)
    nothing = dict(side_effect=AssertionError('encoded again'))
    with patch.object(ask.model, 'encode_image', **nothing):
        found = numbers(ask.retrieve(text, collection, k=2, rerank=True) for text in TEXTS)
        assert found == numbers(ask.retrieve(TEXTS, collection, k=2, rerank=True)) == expected
        with patch.object(ask.model, 'encode_text', **nothing):
            backwards = ask.retrieve(TEXTS[::-1], collection, k=2, rerank=True)
            assert numbers(backwards) == expected[::-1]
    with pytest.raises(ValueError, match='rerank=True'):
        ask.retrieve('a', ask.collect(scenes, rerank=False), rerank=True)


def test_a_collection_remembers_a_number_of_texts(ask, scenes, monkeypatch):
    monkeypatch.setattr('fiber_mmdet.apis.image_collection.MOST_TEXTS', 2)
    collection = ask.collect(scenes)
    for text in [*TEXTS, *TEXTS]:
        assert numbers([ask.retrieve(text, collection, k=2, rerank=True)]) == numbers(
            [ask.retrieve(text, scenes, k=2, rerank=True)]
        )
        assert len(collection.columns) == len(collection.retriever.text_features) <= 2
    # more at once than are remembered
    assert numbers(ask.retrieve(TEXTS, collection, k=2)) == numbers(
        ask.retrieve(TEXTS, scenes, k=2)
    )


def test_a_model_that_only_matches_matches_all(tiny_scenes, scenes):
    ask = ImageTextInferencer(make_config(tiny_scenes, heads=('itm',)), 'random', 'cpu')
    hits = ask.retrieve(TEXTS[0], scenes, k=1, rerank=True, candidates=1)
    assert hits[0].index == int(np.argmax(ask.match(scenes, TEXTS[0]))) and hits[0].score is None
    with pytest.raises(MissingHead, match="retrieval without rerank=True.*type='ITCHead'"):
        ask.retrieve(TEXTS[0], scenes)


# -------------------------------------------------------------------------- heads
QUESTIONS_TO_HEADS = dict(
    VQAHead=lambda ask, image: ask.answer(image, 'what?'),
    NLVR2Head=lambda ask, image: ask.judge(image, image, 'both'),
    CaptionHead=lambda ask, image: ask.caption(image),
    ITMHead=lambda ask, image: ask.match(image, 'a star'),
    ITCHead=lambda ask, image: ask.embed_images(image),
)


@pytest.mark.parametrize('kind', QUESTIONS_TO_HEADS)
def test_a_missing_head_is_named_with_a_config_that_has_it(tiny_scenes, scenes, kind):
    others = [name for name, head in HEADS.items() if head['type'] != kind]
    ask = ImageTextInferencer(make_config(tiny_scenes, heads=others), 'random', 'cpu')
    with pytest.raises(MissingHead, match=f"type='{kind}'") as error:
        QUESTIONS_TO_HEADS[kind](ask, scenes[0])
    named = [word.rstrip(',') for word in str(error.value).split() if word.startswith('configs/')]
    root = Path(__file__).resolve().parents[2]
    assert len(named) == 2 and all(kind in (root / path).read_text() for path in named)


# ------------------------------------------------------------------------- answers
def test_answers_of_the_config(ask):
    assert len(ask.answers) == 36 and ask.answers[:2] == ['yes', 'no']


def test_answers_of_the_checkpoint_come_first(model_files, tmp_path):
    carried = [f'answer {i}' for i in range(36)]
    state = torch.load(model_files[1], weights_only=True)['state_dict']
    torch.save(
        dict(state_dict=state, meta=dict(dataset_meta=dict(answers=tuple(carried)))),
        tmp_path / 'carries.pth',
    )
    ask = ImageTextInferencer(model_files[0], tmp_path / 'carries.pth', 'cpu')
    assert ask.answers == carried
    given = ImageTextInferencer(model_files[0], tmp_path / 'carries.pth', 'cpu', answers=['a'])
    assert given.answers == ['a']


def test_answers_that_are_not_known(tiny_scenes, scenes):
    cfg = make_config(tiny_scenes)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.answer_file = 'annotations/none.json'
    with pytest.raises(LoadingError, match='none.json of the config is not there.*answers='):
        ImageTextInferencer(cfg, 'random', 'cpu').answer(scenes[0], 'what?')


@pytest.mark.parametrize(
    'count, message', [(40, '40 answers, the model 36'), (1, 'class [0-9]+ is predicted.* has 1:')]
)
def test_answers_of_another_model(model_files, scenes, count, message):
    ask = ImageTextInferencer(*model_files, 'cpu', answers=[f'a{i}' for i in range(count)])
    with pytest.raises(LoadingError, match=message):
        ask.answer(scenes, 'what?')


# ------------------------------------------------------------------------- loading
def test_weights_have_to_fit(tiny_scenes, model_files, tmp_path):
    with pytest.raises(LoadingError, match='does not fit the config.*unexpected'):
        ImageTextInferencer(make_config(tiny_scenes, heads=('itm',)), model_files[1], 'cpu')
    torch.save(dict(state_dict={'conv.weight': torch.zeros(1)}), tmp_path / 'stranger.pth')
    with pytest.raises(LoadingError, match='missing'):
        ImageTextInferencer(model_files[0], tmp_path / 'stranger.pth', 'cpu')
    torch.save(dict(state_dict={}, hook=Path.cwd), tmp_path / 'unsafe.pth')
    with pytest.raises(ConversionError, match='refused, because reading it would call'):
        ImageTextInferencer(model_files[0], tmp_path / 'unsafe.pth', 'cpu')


def test_configs_have_to_make_an_image_text_model(config_file, tiny_scenes, tmp_path):
    with pytest.raises(LoadingError, match='FIBERDetector, not a FIBERForVL'):
        ImageTextInferencer(config_file, 'random', 'cpu')
    with pytest.raises(FileNotFoundError):
        ImageTextInferencer(tmp_path / 'none.py', 'random')
    cfg = make_config(tiny_scenes)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'test_pipeline'):
        cfg.pop(name)
    with pytest.raises(LoadingError, match='needs an EachView'):
        ImageTextInferencer(cfg, 'random', 'cpu')


def test_the_packaged_model_needs_no_arguments(packaged, ask, scenes, tmp_path, monkeypatch):
    question = 'how many rings are there?'
    found = ImageTextInferencer(device='cpu').answer(scenes[0], question)
    assert found.answer == ask.answer(scenes[0], question).answer
    assert found.score == pytest.approx(ask.answer(scenes[0], question).score)
    untrained = ImageTextInferencer(weights='random', device='cpu')
    assert untrained.answer(scenes[0], question).score != pytest.approx(found.score)
    monkeypatch.setitem(catalogue.PACKAGED, 'fiber-mini-vl', tmp_path)
    with pytest.raises(UnknownWeights, match='packaged model fiber-mini-vl is not here'):
        ImageTextInferencer()
