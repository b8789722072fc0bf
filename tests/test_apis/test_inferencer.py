"""The inferencer: all ways to ask give the same answer, and errors say what to do."""

import json
from dataclasses import fields
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from fiber_mmdet.apis import EncodedImage, FIBERInferencer, ImageError, LoadingError, acceleration
from fiber_mmdet.apis.inputs import read_query
from fiber_mmdet.apis.loading import load_detector
from fiber_mmdet.checkpoints import ConversionError
from fiber_mmdet.text import Description, Prompt, PromptError, describe, read_descriptions
from fiber_mmdet.weights import UnknownWeights

PROMPT = 'a red circle . a blue square'


def assert_same(a, b, exact=True):
    """Two results are equal, detections to the last bit or nearly so."""
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name in ('boxes', 'scores') and not exact:
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-3)
        elif field.name != 'image':
            np.testing.assert_array_equal(x, y)


# --------------------------------------------------------------- results
def test_result_speaks_the_callers_language(find, pixels):
    result = find(pixels[0], PROMPT, score_thr=0)
    assert len(result) > 2 and set(result.names) == {'a red circle', 'a blue square'}
    assert result.phrases == ('a red circle', 'a blue square')
    assert [result.caption[b:e] for ((b, e),) in result.spans] == list(result.phrases)
    assert result.boxes.shape == (len(result), 4) and result.image_size == (60, 80)
    assert (result.boxes >= 0).all() and (result.boxes <= [80, 60, 80, 60]).all()
    assert (np.diff(result.scores) <= 0).all()


def test_boxes_say_where_they_end(find, pixels):
    inclusive = find(pixels[0], PROMPT, score_thr=0)
    assert inclusive.inclusive  # the config does not ask for exclusive ones
    find.model.bbox_head.test_cfg['exclusive_boxes'] = True
    try:
        exclusive = find(pixels[0], PROMPT, score_thr=0)
    finally:
        del find.model.bbox_head.test_cfg['exclusive_boxes']
    assert not exclusive.inclusive
    np.testing.assert_allclose(exclusive.boxes, inclusive.boxes + [0, 0, 1, 1])
    np.testing.assert_allclose(exclusive.exclusive_boxes, inclusive.exclusive_boxes)
    assert (inclusive.exclusive_boxes[:, 2:] <= (80, 60)).all()


def test_score_threshold(find, pixels):
    everything = find(pixels[0], PROMPT, score_thr=0)
    threshold = float(np.median(everything.scores))
    assert_same(find(pixels[0], PROMPT, score_thr=threshold), everything.above(threshold))
    assert len(str(everything).splitlines()) == len(everything) + 1
    nothing = find(pixels[0], PROMPT, score_thr=1.1)
    assert len(nothing) == 0 and nothing.boxes.shape == (0, 4) and nothing.names == []
    assert str(nothing) == 'nothing found'


def test_repeated_phrase_is_two_labels(find, pixels):
    caption = 'a red circle, a star and a red circle'
    result = find(pixels[0], caption, score_thr=0)
    assert result.phrases == ('a red circle', 'a star', 'a red circle')
    assert result.spans == (((0, 12),), ((14, 20),), ((25, 37),))
    assert set(result.labels.tolist()) == {0, 1, 2}


def test_dictionary_and_json(find, folder, tmp_path):
    result = find(folder / 'a.png', PROMPT, score_thr=0)
    path = result.save_json(tmp_path / 'new' / 'result.json')
    read = json.loads(path.read_text())
    assert read == result.to_dict()
    assert (read['image'], read['width'], read['height']) == (str(folder / 'a.png'), 80, 60)
    first = read['detections'][0]
    assert first['phrase'] == read['phrases'][first['label']]
    assert [read['caption'][b:e] for b, e in first['spans']] == [first['phrase']]
    np.testing.assert_allclose(first['box'], result.boxes[0], atol=0.006)


# ---------------------------------------------------------------- images
def test_one_image_or_many(find, folder, pixels):
    assert not isinstance(find(str(folder / 'a.png'), PROMPT), list)
    assert len(find([pixels[0]], PROMPT)) == 1
    results = find(folder, PROMPT, score_thr=0)
    assert [result.image[-5:] for result in results] == ['a.png', 'b.png', 'c.png']
    for result, image in zip(results, reversed(pixels)):
        assert_same(result, find(image, PROMPT, score_thr=0))
    assert len(find([folder, pixels[0]], PROMPT)) == 4


def test_a_folder_names_what_it_leaves_out(find, folder, pixels, caplog, monkeypatch):
    for name, kind in (('d.jfif', 'JPEG'), ('e.gif', 'GIF'), ('f.jp2', 'JPEG2000')):
        Image.fromarray(pixels[0]).save(folder / name, kind)
    (folder / 'photo.raw').write_bytes(b'camera')
    (folder / 'gone.jpg').symlink_to(folder / 'nowhere.jpg')
    (folder / '.hidden').touch()
    names = [Path(result.image).name for result in find(folder, PROMPT)]
    assert names == ['a.png', 'b.png', 'c.png', 'd.jfif', 'e.gif', 'f.jp2']
    assert 'left out 3 files' in caplog.text
    assert '(gone.jpg, notes.txt, photo.raw)' in caplog.text
    monkeypatch.chdir(folder)
    assert len(find('.', PROMPT)) == len(find(Path.cwd(), PROMPT)) == 6


def test_file_pillow_and_array_agree(find, folder, pixels):
    expected = find(folder / 'c.png', PROMPT, score_thr=0)
    pillow = Image.open(folder / 'c.png')
    transparent = np.dstack([pixels[0], np.zeros((60, 80), np.uint8)])
    for image in (pixels[0], pillow, pillow.convert('RGBA'), transparent):
        assert_same(find(image, PROMPT, score_thr=0), expected)
    swapped = find(pixels[0][..., ::-1], PROMPT, score_thr=0)
    assert not np.array_equal(swapped.scores, expected.scores)
    grey = pixels[0][..., 0]
    assert_same(find(grey, PROMPT, score_thr=0), find(Image.fromarray(grey), PROMPT, score_thr=0))


def test_batch_equals_one_by_one_whatever_the_sizes(find, pixels):
    images = [pixels[0], pixels[1], pixels[1][:40], pixels[2]]
    together = find(images, PROMPT, score_thr=0, batch_size=4)
    for image, result in zip(images, together):
        assert_same(result, find(image, PROMPT, score_thr=0), exact=False)


# --------------------------------------------------------------- prompts
def test_prompt_for_each_image(find, pixels):
    prompts = ['a star', ['red circle', 'blue square', 'star'], 'a red circle right of a cross']
    together = find(pixels, prompts=prompts, score_thr=0, batch_size=3)
    for image, prompt, result in zip(pixels, prompts, together):
        assert_same(result, find(image, prompt, score_thr=0), exact=False)


def test_image_is_paid_once(find, pixels):
    backbone = find.model.backbone
    with patch.object(backbone, 'encode_image', wraps=backbone.encode_image) as encode:
        find.set_image(pixels[0])
        prompts = (PROMPT, ['star'], 'a star left of a square')
        grounded = [find.ground(prompt, score_thr=0) for prompt in prompts]
        assert encode.call_count == 1
    for prompt, result in zip(prompts, grounded):
        assert_same(result, find(pixels[0], prompt, score_thr=0))


def test_an_encoded_image_stands_for_the_image(find, pixels, folder):
    backbone = find.model.backbone
    with patch.object(backbone, 'encode_image', wraps=backbone.encode_image) as encode:
        kept = find.encode(pixels[0]), find.encode(folder / 'a.png')
        mixed = find([*kept, pixels[1], kept[0]], PROMPT, score_thr=0, batch_size=4)
        assert encode.call_count == 3
        find.set_image(kept[0])
        assert_same(find.ground(PROMPT, score_thr=0), mixed[0], exact=False)
        assert encode.call_count == 3
    assert kept[0].nbytes > kept[0].prefix.tokens.nbytes
    assert [result.image for result in mixed] == [None, str(folder / 'a.png'), None, None]
    images = [pixels[0], folder / 'a.png', pixels[1], pixels[0]]
    for image, result in zip(images, mixed):
        assert_same(result, find(image, PROMPT, score_thr=0), exact=False)
    other = EncodedImage(kept[0].prefix, find.model.neck)
    with pytest.raises(ImageError, match='another model'):
        find(other, PROMPT)
    with pytest.raises(ImageError, match='no pixels'):
        mixed[0].draw(kept[0])


def test_prompt_is_paid_once(find, pixels, folder):
    backbone = find.model.backbone
    find.model.eval()  # forgets the prompts of the other tests
    with patch.object(backbone, 'encode_text', wraps=backbone.encode_text) as encode:
        find.set_prompt(PROMPT)
        results = find.detect(folder, score_thr=0) + [find.detect(pixels[0], score_thr=0)]
        assert encode.call_count == 1
    for image, result in zip([*reversed(pixels), pixels[0]], results):
        assert_same(result, find(image, PROMPT, score_thr=0))


def test_results_come_one_by_one(find, pixels, folder):
    backbone = find.model.backbone
    find.set_prompt(PROMPT)
    with patch.object(backbone, 'encode_image', wraps=backbone.encode_image) as encode:
        stream = find.stream(folder, score_thr=0)
        first = next(stream)
        assert encode.call_count == 1
    for found, result in zip([first, *stream], find.detect(folder, score_thr=0), strict=True):
        assert_same(found, result)
    with pytest.raises(FileNotFoundError):
        find.stream(folder / 'none.png')


def test_chunks_keep_labels(find, pixels):
    names = ['red circle', 'blue square', 'star']
    chunked = find(pixels[0], names, score_thr=0, chunked_size=1)
    assert chunked.phrases == tuple(names) and chunked.caption == 'red circle. blue square. star'
    for label, name in enumerate(names):
        alone = find(pixels[0], [name], score_thr=0)
        np.testing.assert_allclose(chunked.scores[chunked.labels == label], alone.scores, rtol=1e-5)
    find.model.test_cfg.chunked_size = 1
    try:
        assert_same(
            find(pixels[0], 'red circle. blue square. star', score_thr=0, custom_entities=True),
            chunked,
        )
    finally:
        del find.model.test_cfg['chunked_size']


@pytest.mark.parametrize(
    'prompt, kwargs, phrases',
    [
        (PROMPT, {}, ('a red circle', 'a blue square')),
        ('a man left of a car .', {}, ('a man left of a car',)),
        ('a man left of a car', {}, ('a man', 'a car')),
        (PROMPT, dict(custom_entities=False), ('a red circle', 'a blue square')),
        ('man. red car', dict(custom_entities=True), ('man', 'red car')),
        ('the man left of a car', dict(tokens_positive=-1), ('the man left of a car',)),
        (PROMPT, dict(tokens_positive=[[[2, 5]]]), ('red',)),
        (['bat_(animal)', 'car'], {}, ('bat_(animal)', 'car')),
        ('st. bernard . star', {}, ('st. bernard', 'star')),
        ('st. bernard . star', dict(custom_entities=True), ('st. bernard', 'star')),
        (Prompt('a cat', ('it',), (((2, 5),),)), {}, ('it',)),
        (PROMPT, dict(phrases=['Blue', 'a']), ('Blue', 'a')),
        ('one cat', dict(phrases='cat'), ('cat',)),
    ],
)
def test_ways_to_write_a_prompt(prompt, kwargs, phrases):
    query = read_query(prompt, **kwargs)
    assert query.prompt.phrases == phrases
    assert len(query.passes) == 1 and query.passes[0] is query.prompt  # parsed once


def test_generators_of_names_and_prompts(find, pixels):
    query = read_query((name for name in 'abc'), chunked_size=2)
    assert query.prompt.phrases == ('a', 'b', 'c') and len(query.passes) == 2
    found = find(pixels[:2], prompts=(prompt for prompt in ('a star', 'a ring')))
    assert [result.phrases for result in found] == [('a star',), ('a ring',)]


def test_decorations_follow_their_chunk():
    around = [dict(prefix=f'{i} ') for i in range(5)]
    query = read_query(list('abcde'), caption_prompt=around, chunked_size=2)
    assert [prompt.caption for prompt in query.passes] == ['0 a. 1 b', '2 c. 3 d', '4 e']
    assert query.prompt.caption == '0 a. 1 b. 2 c. 3 d. 4 e'


def test_phrases_are_found_as_the_characters_they_are(find, pixels):
    caption = 'a red circle, a blue star and a star'
    found = find(pixels[0], caption, score_thr=0, phrases=['star', 'red circle'])
    spans = [[[21, 25], [32, 36]], [[2, 12]]]
    marked = find(pixels[0], caption, score_thr=0, tokens_positive=spans)
    assert set(found.names) == {'star', 'red circle'}
    assert found.spans == marked.spans
    np.testing.assert_array_equal(found.boxes, marked.boxes)
    np.testing.assert_array_equal(found.labels, marked.labels)


def test_descriptions_word_the_names(find, pixels, tmp_path, caplog):
    content = {'Star': ['shape', ['five points']], 'ring': ['shape', ['a hole']]}
    file = tmp_path / 'shapes.json'
    file.write_text(json.dumps(content))
    names = ['star', 'ring', 'cross']
    found = find(pixels[0], names, score_thr=0, descriptions=file)
    caption = 'Detect: star, a kind of shape, five points. ring, a kind of shape, a hole. cross. '
    assert found.caption == caption and found.phrases == tuple(names)
    assert "no description of 1 of 3 names ('cross')" in caplog.text
    said = ('star, a kind of shape,', 'ring, a kind of shape,', 'cross')
    spans = [[[caption.index(words), caption.index(words) + len(words)]] for words in said]
    assert [list(map(list, pieces)) for pieces in found.spans] == spans
    marked = find(pixels[0], caption, score_thr=0, tokens_positive=spans)
    np.testing.assert_allclose(found.boxes, marked.boxes, atol=1e-4)
    words = describe(names, read_descriptions(str(file)))
    assert_same(found, find(pixels[0], names, score_thr=0, caption_prompt=words))
    assert_same(found, find(pixels[0], 'star . ring . cross', score_thr=0, descriptions=str(file)))
    # a single name, and two prompts
    assert find(pixels[0], 'ring', descriptions=file).phrases == ('ring',)
    query = read_query(names, descriptions=file, chunked_size=2)
    assert query.passes[1].caption == 'Detect: cross. '
    assert query.prompt.caption == ''.join(prompt.caption for prompt in query.passes)
    read = [query.prompt.caption[begin:end] for ((begin, end),) in query.prompt.spans]
    assert read == list(said) and query.prompt.phrases == tuple(names)
    # descriptions that do not fit lose their end
    content['ring'][1] = ['very round'] * 200
    long = find(pixels[0], names[:2], score_thr=0, descriptions=describe_all(content))
    assert find.model.tokenizer([long.caption]).ids.shape == (1, 256)


def describe_all(content):
    return {name: Description(kind, tuple(pieces)) for name, (kind, pieces) in content.items()}


# ---------------------------------------------------------------- errors
def test_nothing_set(find, pixels):
    find.set_image(pixels[0])
    find.set_prompt('a star')
    find.reset()
    with pytest.raises(RuntimeError, match='set_image'):
        find.ground('a star')
    with pytest.raises(RuntimeError, match='set_prompt'):
        find.detect(pixels[0])


def test_errors_name_the_image(find, folder, pixels, tmp_path):
    (folder / 'broken.jpg').write_bytes(b'\xff\xd8\xff\xe0 not really')
    (folder / 'empty.png').write_bytes(b'')
    (tmp_path / 'void').mkdir()
    for image, error, message in [
        ('/no/such/cat.jpg', FileNotFoundError, 'no image or folder.*cat.jpg'),
        (folder / 'broken.jpg', ImageError, 'broken.jpg'),
        (folder, ImageError, 'broken.jpg'),
        (folder / 'empty.png', ImageError, 'empty.png'),
        (tmp_path / 'void', ImageError, 'void'),
        ([], ImageError, 'empty'),
        (pixels[0] / 255.0, ImageError, 'uint8'),
        (np.stack(pixels), ImageError, 'list'),
        (torch.zeros(3, 8, 8), ImageError, 'Tensor'),
        ('', ImageError, "folder is ''"),
        ('  ', ImageError, 'path of an image or folder'),
        (Path(''), ImageError, 'is empty'),
        ([pixels[0], ''], ImageError, 'path of an image or folder'),
        ('a\0.png', ImageError, 'path of an image or folder'),
    ]:
        with pytest.raises(error, match=message):
            find(image, PROMPT)
    with pytest.raises(ImageError, match='single'):
        find.set_image(pixels)


def test_unreadable_images_are_left_out_on_request(
    config_file, weights_file, find, folder, caplog, monkeypatch
):
    (folder / 'aa.png').write_bytes(b'no image')
    (folder / 'd.png').write_bytes(b'')
    keen = FIBERInferencer(config_file, weights_file, device='cpu', skip_unreadable=True)
    paths = sorted(folder.glob('*.png'))
    paths = [path for path in paths if path.is_file()]
    assert [path.stem for path in paths] == ['a', 'aa', 'b', 'c', 'd']
    for size in (1, 2, 5):
        caplog.clear()
        results = keen(folder, PROMPT, score_thr=0, batch_size=size)
        assert [result is None for result in results] == [False, True, False, False, True]
        (record,) = [r for r in caplog.records if 'cannot be read' in r.getMessage()]
        listed = record.getMessage().splitlines()
        assert listed[0] == '2 of 5 images cannot be read:' and len(listed) == 3
        assert 'aa.png' in listed[1] and 'd.png' in listed[2]
        for path, result in zip(paths, results):
            if result is not None:
                assert_same(result, find(path, PROMPT, score_thr=0), exact=size == 1)
    # a prompt each; and a prompt that was set
    prompts = ['a star', 'a ring', 'a cross', 'a circle', 'a square']
    results = keen(folder, prompts=prompts, batch_size=3)
    named = [None if result is None else result.phrases for result in results]
    assert named == [('a star',), None, ('a cross',), ('a circle',), None]
    keen.set_prompt('a star')
    assert keen.detect([folder / 'aa.png']) == [None]
    # a single image has nothing to go on with
    with pytest.raises(ImageError, match='aa.png'):
        keen(folder / 'aa.png', PROMPT)
    # what is wrong with the model is not the image's fault
    monkeypatch.setattr(keen.model, 'ground', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        keen(folder, PROMPT)


def test_errors_of_prompts(find, pixels):
    with pytest.raises(ValueError, match='either'):
        find(pixels[0])
    with pytest.raises(ValueError, match='a list of 3'):
        find(pixels, prompts=['a star'])
    with pytest.raises(TypeError, match='custom_entity'):
        find(pixels[0], PROMPT, custom_entity=True)
    with pytest.raises(PromptError, match='given twice'):
        find(pixels[0], 'star . star')
    with pytest.raises(PromptError, match='chunked_size'):
        find(pixels[0], [f'number {i}' for i in range(200)])
    with pytest.raises(PromptError, match='alone takes .* shorten it'):
        find(pixels[0], ['cat', 'red circle ' * 200])
    with pytest.raises(PromptError, match='shorten it .chunks are for names only'):
        find(pixels[0], 'a red circle left of a star ' * 50)
    with pytest.raises(PromptError, match='half a character'):
        find(pixels[0], ['cat', 'do\ud83d'])
    with pytest.raises(PromptError, match="'square' does not occur"):
        find(pixels[0], 'a star', phrases=['star', 'square'])
    with pytest.raises(PromptError, match='give names, not'):
        find(pixels[0], 'a star', phrases=['star'], descriptions={'star': Description('shape')})
    with pytest.raises(PromptError, match='give names, not'):
        find(pixels[0], ['star'], caption_prompt={}, descriptions={'star': Description('shape')})
    with pytest.raises(PromptError, match='drop phrases'):
        find(pixels[0], Prompt('a cat', ('it',), (((2, 5),),)), phrases=['cat'])
    with pytest.raises(FileNotFoundError, match=r'none\.json'):
        find(pixels[0], ['star'], descriptions='none.json')
    with pytest.raises(PromptError, match='drop custom_entities'):
        find(pixels[0], Prompt('a cat', ('it',), (((2, 5),),)), custom_entities=True)


# --------------------------------------------------------------- loading
def test_configs_in_every_form(config_file, weights_file, pixels, find):
    config = Config.fromfile(config_file)
    text = config.pretty_text
    expected = find(pixels[0], PROMPT, score_thr=0)
    plain = dict(model=config.model, test_pipeline=config.test_pipeline)
    for form in (str(config_file), config, plain):
        again = FIBERInferencer(form, weights_file, 'cpu', tokenizer='fiber_mmdet:mini')
        assert_same(again(pixels[0], PROMPT, score_thr=0), expected)
    assert config.pretty_text == text
    config.load_from = str(weights_file)
    assert_same(FIBERInferencer(config, device='cpu')(pixels[0], PROMPT, score_thr=0), expected)


def test_weights_must_fit(config_file, weights_file, tmp_path):
    with pytest.raises(LoadingError, match='no weights.*random'):
        load_detector(config_file)
    for config in (None, config_file):  # not those that are packaged
        with pytest.raises(LoadingError, match="weights='' is not a file"):
            load_detector(config, '')
    with pytest.raises(ValueError, match='gone.pth'):
        load_detector(config_file, tmp_path / 'gone.pth')
    state = torch.load(weights_file)['state_dict']
    state['extra.weight'] = state.pop('bbox_head.token_bias')
    state['bbox_head.log_scale'] = torch.zeros(2)
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(LoadingError) as error:
        load_detector(config_file, tmp_path / 'other.pth')
    for part in (
        '1 missing (bbox_head.token_bias)',
        '1 unexpected (extra.weight)',
        'bbox_head.log_scale (2,) for (1,)',
        'config',
        'load_from',
    ):
        assert part in str(error.value)
    official = {'module.fusion_backbone.backbone.body.norm1.weight': torch.zeros(1)}
    torch.save(dict(model=official, optimizer={}), tmp_path / 'official.pth')
    with pytest.raises(ConversionError, match='official.pth: was recognised as fine-grained, but'):
        load_detector(config_file, tmp_path / 'official.pth')


def test_configs_that_make_no_inferencer(config_file, weights_file):
    with pytest.raises(FileNotFoundError, match='no config.*missing.py'):
        FIBERInferencer('missing.py')
    with pytest.raises(LoadingError, match='no `model`'):
        FIBERInferencer(dict(), 'random')
    model = Config.fromfile(config_file).model
    with pytest.raises(LoadingError, match='how images are prepared'):
        FIBERInferencer(dict(model=model), weights_file, 'cpu')


def test_packaged_model_or_a_clear_error(tmp_path):
    with patch.dict('fiber_mmdet.weights.catalogue.PACKAGED', {'fiber-mini': tmp_path}):
        for name in (None, 'fiber-mini'):
            with pytest.raises(UnknownWeights, match='packaged model fiber-mini is not here'):
                FIBERInferencer(name)


# ------------------------------------------------------------ precision, compilation
def test_low_precision_finds_nearly_the_same(find, config_file, weights_file, pixels, monkeypatch):
    monkeypatch.setattr(acceleration, 'has_bfloat16_products', lambda device: True)
    low = FIBERInferencer(config_file, weights_file, 'cpu', precision='bfloat16')
    assert next(low.model.parameters()).dtype == torch.float32
    exact, near = (f(pixels[0], PROMPT, score_thr=0) for f in (find, low))
    assert exact.scores[0] != near.scores[0]
    np.testing.assert_allclose(near.scores[:3], exact.scores[:3], atol=0.05)
    low.set_image(pixels[0])
    assert_same(low.ground(PROMPT, score_thr=0), near)
    low.set_prompt(PROMPT)
    assert_same(low.detect(pixels[0], score_thr=0), near)
    assert_same(low([pixels[0]], prompts=[PROMPT], score_thr=0)[0], near)


@pytest.mark.parametrize(
    'precision, message',
    [
        ('float16', "'float16' needs a GPU; CPUs have 'bfloat16'"),
        ('bfloat16', "precision='bfloat16': this device only imitates it, slower than float32"),
        ('half', "precision='half' must be one of float32, bfloat16, float16"),
    ],
)
def test_precision_that_is_not_there(config_file, weights_file, precision, message, monkeypatch):
    monkeypatch.setattr(acceleration, 'has_bfloat16_products', lambda device: False)
    with pytest.raises(ValueError, match=message):
        FIBERInferencer(config_file, weights_file, 'cpu', precision=precision)


def test_compilation_covers_towers_pyramid_and_head(config_file, weights_file, pixels, find):
    compiled = []

    def translate(function):
        compiled.append(function.__qualname__)
        return function

    with patch('torch.compile', translate):
        fast = FIBERInferencer(config_file, weights_file, 'cpu', compile=True)
    assert compiled == [
        'FIBERBackbone.encode_image',
        'FIBERBackbone.encode_text',
        'FIBERBackbone.fuse',
        'FPN.forward',
        'GroundingHead.forward',
    ]
    assert_same(fast(pixels[0], PROMPT, score_thr=0), find(pixels[0], PROMPT, score_thr=0))
    assert fast.model.state_dict().keys() == find.model.state_dict().keys()


@pytest.mark.parametrize(
    'prompt, kwargs, warned',
    [
        ('star (yellow) . star (blue)', {}, True),
        (['star (yellow)', 'star (blue)'], dict(chunked_size=1), True),
        (
            ['star (yellow)', 'star (blue)'],
            dict(caption_prompt={'star (blue)': dict(name='sea')}),
            False,
        ),
        ('star . sea', {}, False),
        ('a star (yellow) and a star (blue)', {}, False),
    ],
)
def test_names_that_read_alike_are_said(prompt, kwargs, warned, caplog):
    read_query(prompt, **kwargs)
    said = [line for line in caplog.messages if "'star (yellow)' and 'star (blue)'" in line]
    assert len(said) == warned
