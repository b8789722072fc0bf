"""tools/demo_image_text.py as people run it."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

import fiber_scenes
from fiber_mmdet.apis.table_files import TABLES
from image_text_demo.arguments import FORMATS, SCENE

DEMO = Path(__file__).resolve().parents[2] / 'tools/demo_image_text.py'


@pytest.fixture
def demo(monkeypatch, model_files, tmp_path):
    """Runs a command with the tiny model; returns the exit code and the figures."""

    def run(command, *args, model=('--config', model_files[0], '--weights', model_files[1])):
        out = tmp_path / f'{command}.png'
        arguments = [command, *args, *model, '--out', out, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', ['demo_image_text.py', *map(str, arguments)])
        code = runpy.run_path(str(DEMO))['main']()
        if code:
            return code, None
        assert out.read_bytes()[1:4] == b'PNG'
        return code, json.loads(out.with_suffix('.json').read_text())

    return run


def test_answer(demo, ask, scenes, capsys):
    questions = ['how many rings?', 'is there a star?']
    code, found = demo('answer', scenes[0], *questions)
    assert code == 0
    assert [record['answer'] for record in found] == [
        answer.answer for answer in ask.answer(scenes[0], questions)
    ]
    assert all(record['answer'] in capsys.readouterr().out for record in found[:1])


def test_caption(demo, ask, scenes):
    code, found = demo('caption', scenes[0], scenes[1])
    assert [record['caption'] for record in found] == ask.caption(scenes[:2])


def test_match(demo, ask, scenes, capsys):
    texts = ['a red ring', 'nothing of it']
    _, found = demo('match', scenes[0], *texts)
    assert [record['text'] for record in found] == texts
    expected = pytest.approx(ask.match(scenes[0], texts), abs=1e-5)
    assert [record['match'] for record in found] == expected
    assert f'a red ring  {found[0]["match"]:.2f}' in capsys.readouterr().out


def test_judge(demo, ask, scenes):
    statements = ['both images have a ring', 'one image has a star']
    _, found = demo('judge', *scenes[:2], *statements)
    assert [record['probability'] for record in found] == pytest.approx(
        [verdict.probability for verdict in ask.judge(*scenes[:2], statements)], abs=1e-5
    )


@pytest.mark.parametrize('rerank', [(), ('--rerank',)])
def test_retrieve(demo, ask, scenes, rerank):
    _, found = demo('retrieve', scenes[0].parent, 'a red ring', '--top', '2', *rerank)
    hits = ask.retrieve('a red ring', scenes, 2, bool(rerank))
    assert [record['image'] for record in found[0]['images']] == [str(hit.item) for hit in hits]


def test_attention(demo, ask, scenes):
    _, found = demo(
        'attention', scenes[0], 'a red ring', '--phrases', 'red', 'red ring', '--direction', 'both'
    )
    maps = ask.attention(scenes[0], 'a red ring', ['red', 'red ring'])
    assert [record['phrase'] for record in found['phrases']] == ['red', 'red ring']
    assert found['phrases'][1]['looks'] == [
        pytest.approx(row, abs=1e-4) for row in maps.looks[1].tolist()
    ]


def test_sheet(demo, capsys):
    code, found = demo('sheet', '--number', '2')
    assert code == 0 and len(found) == 8 and ' of 8 right' in capsys.readouterr().out


# ---------------------------------------------------------------- the packaged model
def test_the_packaged_model_is_asked_by_default(packaged, demo, ask, scenes):
    for model in ((), ('--weights', packaged / 'weights.pth')):
        code, found = demo('answer', scenes[0], 'how many rings?', model=model)
        assert code == 0
        assert found[0]['answer'] == ask.answer(scenes[0], 'how many rings?').answer


def test_a_scene_without_an_image(packaged, demo, ask, capsys):
    """The default scene has five kinds of objects; one is new. Its truth is the generator's."""
    scene = fiber_scenes.sample_scene('test', SCENE)
    kinds = {item.name: item.novel for item in scene.objects}
    assert len(kinds) == 5 and any(kinds.values())
    code, found = demo('overview', model=())
    said = capsys.readouterr().out
    assert code == 0 and found['scene'] == dict(split='test', seed=0, number=SCENE)
    asked = {one.text: one.answer for one in fiber_scenes.ask(scene, 8)}
    assert len(found['questions']) == len(asked) == 8
    for record in found['questions']:
        question, answer = record['question'], record['answer']
        assert record['truth'] == asked[question] and record['right'] == (answer == asked[question])
        assert answer == ask.answer(fiber_scenes.draw(scene), question).answer
        assert f'{question}  {answer}' in said
    assert found['caption']['text'] == ask.caption(fiber_scenes.draw(scene))
    assert found['caption']['captions'] == fiber_scenes.narrate(scene)
    assert all(name in found['title'] for name, novel in kinds.items() if novel)
    _, other = demo('overview', '--scene', '3', '--questions', 'what?', model=())
    assert other['scene']['number'] == 3 and 'truth' not in other['questions'][0]


def test_an_image_at_a_glance(demo, ask, scenes, capsys):
    asked = ['--questions', 'how many rings?', 'where is the star?']
    text = ['--text', 'a red ring', '--phrases', 'ring']
    code, found = demo('overview', scenes[0], *asked, *text)
    assert code == 0 and found['image'] == str(scenes[0])
    assert [record['question'] for record in found['questions']] == asked[1:]
    assert found['caption'] == dict(text=ask.caption(scenes[0]), captions=[], right=None)
    assert [phrase['phrase'] for phrase in found['attention']['phrases']] == ['ring']
    with pytest.raises(SystemExit):
        demo('overview', scenes[0], '--scene', '3')
    assert '--scene is about generated scenes' in capsys.readouterr().err


@pytest.mark.parametrize('task', ['judge', 'retrieve'])
def test_sheets_of_generated_scenes(packaged, demo, tiny_scenes, task, monkeypatch):
    """They are those of a dataset on the disk."""
    monkeypatch.setattr('image_text_demo.scenes.SCENES', 6)
    _, found = demo('sheet', '--task', task, '--number', '2', model=())
    files = [name for record in found for name in record.get('images', [])]
    if task == 'retrieve':
        files = [record['right'] for record in found]
    assert len(found) == 2 and files and all((tiny_scenes / name).is_file() for name in files)


def test_a_task_that_the_dataset_has_not(demo, capsys):
    assert demo('sheet', '--task', 'judge')[0] == 1
    assert "task='judge', but the dataset has questions about images" in capsys.readouterr().err


def test_the_earlier_form_is_named(demo, model_files, scenes, capsys):
    """CONFIG and WEIGHTS used to come before the image."""
    for command in (('answer', *model_files, scenes[0], 'what?'), ('sheet', *model_files)):
        with pytest.raises(SystemExit):
            demo(*command, model=())
        assert f'--config {model_files[0]} --weights WEIGHTS' in capsys.readouterr().err


@pytest.mark.parametrize(
    'args, message',
    [
        (('answer', 'no/such.jpg', 'what?'), 'such.jpg'),
        (('attention', 'SCENE', 'a ring', '--phrases', 'star'), "'star' does not occur"),
    ],
)
def test_errors_are_one_line(demo, scenes, capsys, args, message):
    code, _ = demo(*[scenes[0] if part == 'SCENE' else part for part in args])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1 and error.startswith('error: ') and message in error


@pytest.fixture
def folder(scenes, tmp_path):
    """Two images, one that is broken, and one file of another kind."""
    path = tmp_path / 'images'
    path.mkdir()
    for i, scene in enumerate(scenes[:2]):
        shutil.copy(scene, path / f'{i}{scene.suffix}')
    (path / 'broken.png').write_bytes(b'nothing')
    (path / 'notes.txt').write_text('no image')
    return path


@pytest.mark.parametrize(
    'command, texts',
    [('answer', ['how many rings?']), ('caption', []), ('retrieve', ['a red ring'])],
)
def test_broken_images_do_not_end_a_run(demo, folder, tmp_path, capsys, command, texts):
    assert demo(command, folder, *texts)[0] == 1
    found = json.loads((tmp_path / f'{command}.json').read_text())
    shown = found[0]['images'] if command == 'retrieve' else found
    assert sorted(Path(record['image']).stem for record in shown) == ['0', '1']
    assert (tmp_path / f'{command}.png').stat().st_size
    said = capsys.readouterr().err
    assert '1 of 3 images failed:' in said and 'broken.png' in said.splitlines()[-1]


def test_ctrl_c_keeps_what_is_done(demo, folder, tmp_path, monkeypatch, capsys):
    from fiber_mmdet.apis import ImageTextInferencer

    answer = ImageTextInferencer.answer

    def interrupted(ask, image, questions):
        if image.stem == '1':
            raise KeyboardInterrupt
        return answer(ask, image, questions)

    (folder / 'broken.png').unlink()
    monkeypatch.setattr(ImageTextInferencer, 'answer', interrupted)
    assert demo('answer', folder, 'how many rings?')[0] == 130
    assert len(json.loads((tmp_path / 'answer.json').read_text())) == 1
    assert 'interrupted: 1 of 2 images are done' in capsys.readouterr().err


@pytest.mark.parametrize(
    'command, texts', [('answer', ['how many rings?', 'what?']), ('caption', [])]
)
def test_a_run_goes_on_where_it_ended(demo, folder, tmp_path, monkeypatch, capsys, command, texts):
    from fiber_mmdet.apis import ImageTextInferencer

    real, asked = getattr(ImageTextInferencer, command), []

    def noted(ask, image, *rest):
        asked.extend(image if isinstance(image, list) else [image])
        if asked[-1].stem == fatal:
            raise Killed
        return real(ask, image, *rest)

    class Killed(BaseException):
        """As a signal."""

    (first,) = folder.glob('0.*')
    shutil.copy(first, folder / f'2{first.suffix}')
    (folder / 'broken.png').unlink()
    monkeypatch.setattr(ImageTextInferencer, command, noted)
    init = ImageTextInferencer.__init__

    def one_at_a_time(ask, *args, **kwargs):
        init(ask, *args, **kwargs)
        ask.batch_size = 1

    monkeypatch.setattr(ImageTextInferencer, '__init__', one_at_a_time)
    fatal = ''
    assert demo(command, folder, *texts, '--format', 'csv')[0] == 0
    files = [tmp_path / f'{command}.{kind}' for kind in ('png', 'json', 'csv')]
    whole = [file.read_bytes() for file in files]
    assert whole[2].count(b'\n') == 1 + 3 * max(len(texts), 1)
    for file in files:
        file.unlink()
    asked.clear()
    fatal = '1'
    with pytest.raises(Killed):
        demo(command, folder, *texts, '--format', 'csv')
    assert [image.stem for image in asked] == ['0', '1'] and not any(map(Path.exists, files))
    asked.clear()
    fatal = ''
    capsys.readouterr()
    assert demo(command, folder, *texts, '--format', 'csv')[0] == 0
    assert [image.stem for image in asked] == ['1', '2']
    assert '1 of 3 images were done before' in capsys.readouterr().out
    assert [file.read_bytes() for file in files] == whole
    assert not list(tmp_path.glob('*.run.jsonl'))
    if texts:  # another question: what the interrupted run had is not mixed in
        fatal = '1'
        with pytest.raises(Killed):
            demo(command, folder, *texts)
        asked.clear()
        fatal = ''
        assert demo(command, folder, 'another question?')[0] == 0
        assert len(asked) == 3 and 'beginning anew' in capsys.readouterr().out


def test_large_folders_do_not_fill_the_drawing(demo, folder, tmp_path, monkeypatch, capsys):
    (folder / 'broken.png').unlink()
    whole = demo('caption', folder)[1]
    drawing = (tmp_path / 'caption.png').read_bytes()
    monkeypatch.setattr('image_text_demo.many_images.SHOWN', 1)
    assert demo('caption', folder)[1] == whole and len(whole) == 2
    assert 'the drawing shows 1 of 2 images' in capsys.readouterr().out
    first = (tmp_path / 'caption.png').read_bytes()
    assert demo('caption', *folder.glob('0.*'))[0] == 0
    assert (tmp_path / 'caption.png').read_bytes() == first != drawing


def test_formats_of_the_tool_are_those_of_the_package():
    assert set(FORMATS) == set(TABLES)


def test_nothing_is_written_onto_what_is_read(demo, model_files, scenes, tmp_path, capsys):
    before = scenes[0].read_bytes()
    for command, *arguments in (
        ['answer', scenes[0], 'what?', '--json', scenes[0]],
        ['caption', scenes[0].parent, '--json', scenes[0]],
        ['judge', *scenes[:2], 'x', '--json', scenes[1]],
        ['retrieve', scenes[0].parent, 'x', '--json', scenes[0]],
        ['attention', scenes[0], 'x', '--json', model_files[1]],
        ['sheet', '--json', model_files[0]],
    ):
        assert demo(command, *arguments)[0] == 1
        assert 'is read as well and would be lost' in capsys.readouterr().err
    assert scenes[0].read_bytes() == before
