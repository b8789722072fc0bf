"""What each donor fills, from a file in its public layout, and what happens to every other key."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import BaseLoop

import borrowers
import donor_files as files
import donor_glip
from fiber_mmdet.checkpoints import ConversionError, read_checkpoint, resize_bias_table
from fiber_mmdet.checkpoints.borrowed import read_mark
from fiber_mmdet.checkpoints.fitting import MisfitError, fitting_weights
from fiber_mmdet.convert import skeleton
from fiber_mmdet.convert.borrowing import borrow_file
from fiber_mmdet.convert.donors import DONORS
from fiber_mmdet.convert.donors.colours import colours_of
from fiber_mmdet.engine import CheckpointCheckHook


def lend(weights, path, cfg, parts=None, root='model', prefix='', log=lambda line: None):
    """Borrow from a file with these weights; the conversion, and the file that was written."""
    weights = {prefix + key: value for key, value in weights.items()}
    torch.save({root: weights} if root else weights, path / 'donor.pth')
    found = borrow_file(
        path / 'donor.pth',
        path / 'ours.pth',
        skeleton(cfg),
        lambda: colours_of(cfg),
        parts,
        log,
    )
    return found, read_checkpoint(path / 'ours.pth')


def glip(path, early, official):
    weights = donor_glip.MmdetGLIP(path, early, 2 if early else 6).published()
    return donor_glip.official_glip(weights) if official else weights


# donor's file, its form, our model, keys filled, parts
IMAGE, HEAD = 175, 16 + 20 * 6 + 2 + 2 + 5
FILLED = {
    'GLIP A': (
        lambda path: glip(path, False, True),
        dict(prefix='module.'),
        borrowers.detector(),
        IMAGE + HEAD,
        'image neck tower boxes',
    ),
    'GLIP C': (
        lambda path: glip(path, True, True),
        dict(prefix='module.'),
        borrowers.detector(channels=256, blocks=2),
        IMAGE + HEAD - 80,
        'image neck tower boxes',
    ),
    'GLIP A of mmdet': (
        lambda path: glip(path, False, False),
        dict(root=None),
        borrowers.detector(),
        IMAGE + HEAD,
        'image neck tower boxes',
    ),
    'GLIP C of mmdet': (
        lambda path: glip(path, True, False),
        dict(root='state_dict'),
        borrowers.detector(channels=256, blocks=2),
        IMAGE + HEAD - 80,
        'image neck tower boxes',
    ),
    'METER': (
        lambda path: files.meter(),
        dict(root='state_dict'),
        borrowers.image_text(),
        325 + 2 + 197 + 6,
        'image text words',
    ),
    'METER for a detector': (
        lambda path: files.meter(),
        dict(root='state_dict'),
        borrowers.detector('b'),
        325 + 197,
        'image text',
    ),
    'Grounding DINO': (
        lambda path: files.grounding_dino_official(files.mmdet_swin()),
        dict(prefix='module.'),
        borrowers.detector('b'),
        325 + 6,
        'image',
    ),
    'Grounding DINO of mmdet, four levels': (
        lambda path: files.grounding_dino_mmdet(files.mmdet_swin(norms=(0, 1, 2, 3))),
        dict(root='state_dict'),
        borrowers.detector('b'),
        325 + 6,
        'image',
    ),
    'X-VLM': (lambda path: files.xvlm(), dict(), borrowers.detector('b'), 325, 'image'),
    'X-VLM for stage 1': (lambda path: files.xvlm(), dict(), borrowers.image_text(), 327, 'image'),
    'BridgeTower': (
        lambda path: files.bridgetower(),
        dict(root=None),
        borrowers.detector('b'),
        197,
        'text',
    ),
    'BridgeTower, bare': (
        lambda path: files.bridgetower(''),
        dict(root=None),
        borrowers.detector('b'),
        197,
        'text',
    ),
    'BridgeTower, its own': (
        lambda path: files.bridgetower('own'),
        dict(root='state_dict'),
        borrowers.image_text(),
        197,
        'text',
    ),
    'VoLTA': (
        lambda path: files.volta(),
        dict(),
        borrowers.image_text(),
        660,
        'image text attention words readouts itm',
    ),
    'VoLTA for a detector': (
        lambda path: files.volta(),
        dict(),
        borrowers.detector('b', i2t_norm=True),
        642,
        'image text attention',
    ),
}


@pytest.mark.parametrize('case', FILLED)
def test_what_a_donor_fills(tmp_path, case):
    make, form, cfg, count, parts = FILLED[case]
    weights, lines = make(tmp_path), []
    found, written = lend(weights, tmp_path, cfg, log=lines.append, **form)
    mark = read_mark(written)
    assert list(mark.parts) == parts.split() and mark.source == 'donor.pth'
    assert mark.donor in DONORS and f'is a checkpoint of {mark.donor}' in lines[0]
    state, model = written['state_dict'], borrowers.build(cfg)
    assert len(state) == count
    # every key of either side is spoken of
    for key in weights:
        assert sum(f' {key} ' in f'{line} ' for line in lines) == 1, key
    assert set(state) | set(mark.fresh) == set(model.state_dict())
    assert not set(state) & set(mark.fresh)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) == set(mark.fresh) and not unexpected
    assert lines[-2].endswith(' 0 unknown')
    # nothing drags another tensor into the file
    for value in state.values():
        assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


@pytest.mark.parametrize('case', FILLED)
def test_one_renamed_key_is_an_error(tmp_path, case):
    make, form, cfg, _, parts = FILLED[case]
    weights = make(tmp_path)
    key = {
        'image': next(
            (key for key in weights if re.search(r'2\.blocks\.4.*fc1|\.4\.ffn', key)), ''
        ),
        'text': next((key for key in weights if 'layer.5.output.dense' in key), ''),
    }[parts.split()[0]]
    renamed = {
        key.replace('4', '40').replace('5', '50') if key == k else k: v for k, v in weights.items()
    }
    assert set(renamed) != set(weights)
    with pytest.raises(ConversionError) as caught:
        lend(renamed, tmp_path, cfg, **form)
    message = str(caught.value)
    assert 'donor.pth: was recognised as' in message
    assert 'without a place' in message and 'missing: backbone.' in message
    mystery = dict(weights, mystery=torch.ones(1))
    with pytest.raises(ConversionError, match='without a place: mystery .unknown name'):
        lend(mystery, tmp_path, cfg, **form)
    assert not (tmp_path / 'ours.pth').exists()


def test_parts_are_chosen(tmp_path):
    weights, cfg = files.meter(), borrowers.image_text()
    found, written = lend(weights, tmp_path, cfg, ['words', 'readouts', 'itm'])
    assert {key.split('.')[0] for key in written['state_dict']} == {'words', 'fused', 'heads'}
    assert len(written['state_dict']) == 6 + 8 + 2
    assert found.renamed['token_type_embeddings.weight'] == (
        'fused.text_proj.bias',
        'fused.image_proj.bias',
    )
    assert found.reasons['text_transformer.embeddings.LayerNorm.bias'] == 'text: not asked for'
    for parts, message in (
        (['eyes'], "no part is called 'eyes': there are attention, image, text"),
        (['neck'], "METER has no 'neck' to lend, only image, text, words"),
        ([], 'no part is named: METER can fill image'),
    ):
        with pytest.raises(ConversionError, match=message):
            lend(weights, tmp_path, cfg, parts)
    with pytest.raises(ConversionError, match="the model of the config has no 'words'; METER can"):
        lend(weights, tmp_path, borrowers.detector('b'), ['words'])
    with pytest.raises(ConversionError, match='lends image, and the model of the config has none'):
        cfg = dict(type='FasterRCNN')
        from fiber_mmdet.convert.borrowing import borrow

        borrow(weights, DONORS['X-VLM'], {'backbone.conv1.weight': torch.ones(1)}, None)


def test_a_detector_of_another_size_takes_the_head(tmp_path):
    """FIBER-B from GLIP-T: other laterals, the rest of the pyramid and the head."""
    weights = glip(tmp_path, True, True)
    cfg = borrowers.detector('b', channels=256, blocks=3)
    cfg['backbone']['image'].update(embed_dim=32)
    cfg['neck'].update(in_channels=[64, 128, 256])
    with pytest.raises(ConversionError, match='take the config .* --parts neck,tower,boxes'):
        lend(weights, tmp_path, cfg)
    found, written = lend(weights, tmp_path, cfg, ['neck', 'tower', 'boxes'])
    assert len(written['state_dict']) == 10 + 40 + 9
    assert (
        found.reasons['backbone.fpn.fpn_inner3.bias']
        == 'reads 64 channels, the level of the model has 128'
    )
    assert found.fresh['bbox_head.tower.2.offset.weight'] == 'the tower of GLIP has fewer blocks'
    cfg['bbox_head'].update(num_blocks=1)
    found, written = lend(weights, tmp_path, cfg, ['tower'])
    assert len(written['state_dict']) == 20
    assert 'the tower of the model has fewer blocks' in found.reasons.values()


def test_windows_are_resized(tmp_path):
    weights = files.meter()
    _, written = lend(weights, tmp_path, borrowers.image_text(window=6), ['image'])
    name = 'layers.2.blocks.3.attn.relative_position_bias_table'
    assert torch.equal(
        written['state_dict'][f'backbone.image.{name.replace("layers", "stages")}'],
        resize_bias_table(weights[f'vit_model.{name}'], 121),
    )


def test_voltas_own_list_of_names(shared_dir):
    keys = json.loads((shared_dir / 'parity/public_keys_coarse.json').read_text())
    donor = DONORS['VoLTA']
    assert len(keys) == 708 and all(donor.place(key) or donor.why_unused(key) for key in keys)


def test_shapes_that_do_not_fit(tmp_path):
    weights, cfg = files.meter(), borrowers.image_text()
    for key, shape, message in (
        ('vit_model.patch_embed.proj.weight', (16, 3, 4), r'\(16, 3, 4\), in the model'),
        ('token_type_embeddings.weight', (1, 32), 'does not have the shapes of METER'),
        ('itm_score.fc.bias', (3,), r'fc.bias: \(3,\), in the model \(2,\)'),
    ):
        with pytest.raises(ConversionError, match=message):
            lend(dict(weights, **{key: torch.ones(shape)}), tmp_path, cfg, ['image', 'itm'])
    donor = donor_glip.MmdetGLIP(tmp_path, False, 1).published()
    cfg = borrowers.detector(blocks=1)
    cfg['bbox_head'].update(deformable=False)
    with pytest.raises(ConversionError, match=r'the model has no bbox_head.tower.0.offset.weight'):
        lend(donor, tmp_path, cfg)
    donor['backbone.stages.0.downsample.norm.bias'] = torch.ones(7)
    with pytest.raises(ConversionError, match=r'downsample.norm.bias \(the shape \(7,\) is none'):
        lend(donor, tmp_path, borrowers.detector(blocks=1))


def test_who_lends_nothing(tmp_path):
    cfg = borrowers.detector('b')
    clip = {'vit_model.visual.conv1.weight': torch.ones(1), 'text_transformer.x': torch.ones(1)}
    with pytest.raises(ConversionError, match=r'METER with .* CLIP(?s:.)*pretrained=dict\(text='):
        lend(clip, tmp_path, cfg)
    with pytest.raises(ConversionError, match='of a system that lends weights, which are METER, G'):
        lend({'conv.weight': torch.ones(1)}, tmp_path, cfg)
    del cfg['data_preprocessor']
    with pytest.raises(ConversionError, match='which colours .* model.data_preprocessor'):
        lend(files.xvlm(), tmp_path, cfg)
    with pytest.raises(ConversionError, match='is read as well'):
        borrow_file(tmp_path / 'donor.pth', tmp_path / 'donor.pth', None, None)


# ------------------------------------------------------------ training
class Loop(BaseLoop):
    def __init__(self):
        pass

    def run(self):
        pass


def start(checkpoint, model):
    runner = SimpleNamespace(_load_from='ours.pth', _resume=False, model=model, _train_loop=Loop())
    CheckpointCheckHook().after_load_checkpoint(runner, checkpoint)
    return checkpoint['state_dict']


def test_training_starts_from_it(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'fiber_mmdet.engine.checkpoint_check.print_log', lambda line, *_: said.append(line)
    )
    cfg = borrowers.detector()
    _, written = lend(glip(tmp_path, False, True), tmp_path, cfg)
    start(written, borrowers.build(cfg))
    assert any(
        'borrowed from GLIP without early fusion (donor.pth): image, neck' in x for x in said
    )
    assert any(re.search(r'not in it and as initialised: .*backbone.text \(\d+\)', x) for x in said)
    with pytest.raises(MisfitError, match='ours.pth was borrowed from GLIP .* not a whole model'):
        fitting_weights(written, borrowers.build(cfg), 'ours.pth')
    for other in (
        borrowers.detector(blocks=7),
        borrowers.detector(channels=48, blocks=6),
        borrowers.detector(blocks=5),
    ):
        with pytest.raises(MisfitError, match='for another model .* Borrow again with this'):
            start(written, borrowers.build(other))


def test_an_image_text_model_may_have_other_heads_and_windows(tmp_path):
    _, written = lend(files.meter(), tmp_path, borrowers.image_text())
    state = start(dict(written), borrowers.build(borrowers.image_text(heads=('mlm',), window=6)))
    assert state['backbone.image.stages.0.blocks.0.attn.relative_position_bias_table'].shape == (
        121,
        1,
    )


def test_command_line(tmp_path, monkeypatch, capsys):
    import borrow_weights as tool

    torch.save(dict(state_dict=files.meter()), tmp_path / 'meter.ckpt')
    (tmp_path / 'config.py').write_text(f'model = {borrowers.image_text()!r}\n')
    monkeypatch.chdir(tmp_path)

    def run(line):
        monkeypatch.setattr(sys, 'argv', ['borrow_weights.py', *line.split()])
        return tool.main()

    assert run('meter.ckpt start.pth --config config.py --parts image,words') == 0
    assert 'borrowed from METER (meter.ckpt): image, words' in capsys.readouterr().out
    assert read_mark(read_checkpoint('start.pth')).parts == ('image', 'words')
    for line, message in (
        ('gone.ckpt x.pth --config config.py', 'gone.ckpt: no such file'),
        ('meter.ckpt x.pth --config gone.py', 'gone.py: cannot be read'),
        ('meter.ckpt x.pth --config config.py --parts images', "no part is called 'images'"),
        ('meter.ckpt meter.ckpt --config config.py', 'is read as well'),
        ('meter.ckpt config.py --config config.py', 'is read as well'),
        ('fiber://metre x.pth --config config.py', 'no weights are known by the name .metre'),
    ):
        assert run(line) == 1
        assert re.search(f'^error: .*{message}', capsys.readouterr().err), line
    assert not (tmp_path / 'x.pth').exists()
