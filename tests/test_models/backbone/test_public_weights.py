"""Public weights do in our towers what they do in mmdet's Swin and Hugging Face's RoBERTa."""

import re
import shutil

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmdet.models.backbones.swin import swin_converter
from mmengine.logging import MMLogger

from donor_files import own_swin
from fiber_mmdet.checkpoints import ConversionError, resize_bias_table
from fiber_mmdet.checkpoints.downloads import local_file
from fiber_mmdet.models.backbone import FIBERBackbone
from fiber_mmdet.models.backbone.pretrained import load_pretrained
from loopback_hub import LoopbackHub

IMAGE = dict(embed_dim=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window=4)
TEXT = dict(num_layers=4, dim=32, num_heads=4, ffn_dim=64, vocab_size=100, max_positions=20)
FUSED = 2


def backbone(image=None, text=None, **kwargs):
    torch.manual_seed(1)
    model = FIBERBackbone(
        image=dict(IMAGE, **(image or {})),
        text=dict(TEXT, **(text or {})),
        num_fused=FUSED,
        out_indices=(0, 1, 2, 3),
        **kwargs,
    )
    return model.eval()


def randomised(model):
    """Nothing at its initial value, where a mistake would not show."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.3)
    model.eval()  # mmdet's Swin returns None here
    return model


@pytest.fixture(scope='module')
def swin():
    return randomised(
        SwinTransformer(
            embed_dims=16,
            depths=(2, 2, 2, 2),
            num_heads=(1, 2, 4, 8),
            window_size=4,
            out_indices=(0, 1, 2, 3),
            drop_path_rate=0.1,
        )
    )


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    return lines


def logged(log):
    """Keys that the log names as unused, and as kept fresh."""
    (message,) = log
    found = {
        kind: re.findall(rf'^{kind}.* \(\d+\): (.*)$', message, re.MULTILINE)
        for kind in ('unused', 'kept fresh')
    }
    return tuple([key for keys in lines for key in keys.split(', ')] for lines in found.values())


def official_swin(swin):
    """The same weights in Swin's own layout."""
    return own_swin(swin.state_dict(), '')


def classifier(swin):
    """A classification checkpoint: no norms of the pyramid, but a final norm and a head."""
    weights = {
        key: value for key, value in official_swin(swin).items() if not re.match(r'norm\d', key)
    }
    return dict(
        weights,
        **{
            'norm.weight': torch.ones(128),
            'head.bias': torch.ones(5),
            'layers.0.blocks.1.attn_mask': torch.ones(4, 16, 16),
        },
    )


@pytest.mark.parametrize('layout', ['mmdet', 'mmdet detector', 'official', 'official bare'])
@pytest.mark.parametrize('size', [(64, 96), (57, 70)])
def test_image_tower_is_mmdets_swin(tmp_path, swin, layout, size):
    weights = official_swin(swin) if 'official' in layout else swin.state_dict()
    if layout == 'mmdet detector':
        weights = {f'backbone.{key}': value for key, value in weights.items()}
        weights['bbox_head.bias'] = torch.ones(1)
    root = {'official': 'model', 'mmdet detector': 'state_dict'}.get(layout)
    torch.save({root: weights} if root else weights, tmp_path / 'swin.pth')
    model = backbone()
    load_pretrained(model, image=str(tmp_path / 'swin.pth'))
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = swin(images)
        found, _ = model.finish_image(model.encode_image(images))
    for stage, (ours, theirs) in enumerate(zip(found, expected)):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max(), f'stage {stage}'


@pytest.mark.parametrize(
    'prefix', ['backbone.0.', 'backbone.body.', 'vision_encoder.', 'vit_model.', 'image_encoder.']
)
def test_image_tower_of_a_larger_model(tmp_path, swin, log, prefix):
    weights = {prefix + key: value for key, value in official_swin(swin).items()}
    others = {
        'backbone.fpn.fpn_inner2.weight': torch.ones(3),
        'text_encoder.patch.bias': torch.ones(1),
        f'{prefix}layers.3.blocks.1.attn.qkv_i2t.weight': torch.ones(128, 128),
    }
    file = tmp_path / 'model.pth'
    torch.save(dict(model={f'module.{k}': v for k, v in {**weights, **others}.items()}), file)
    model = backbone()
    load_pretrained(model, image=str(file))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = model.finish_image(model.encode_image(images))[0]
        for ours, theirs in zip(found, swin(images)):
            assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()
    unused, _ = logged(log)
    assert set(others) <= set(unused)
    assert ("CLIP's mean" in log[0]) == (prefix == 'vision_encoder.')


def test_mmdet_converts_to_what_we_convert_from(swin):
    again = swin_converter(official_swin(swin))
    for key, value in swin.state_dict().items():
        assert torch.equal(again[f'backbone.{key}'], value), key


def test_classifier_is_accounted_for(tmp_path, swin, log):
    torch.save(dict(model=classifier(swin)), tmp_path / 'swin.pth')
    model = backbone()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_pretrained(model, image=str(tmp_path / 'swin.pth'))
    unused, fresh = logged(log)
    assert {'norm.weight', 'head.bias', 'layers.0.blocks.1.attn_mask'} < set(unused)
    assert all('text_attention' in key or 'out_norms' in key for key in fresh)
    assert sum('out_norms' in key for key in fresh) == 8
    state = model.state_dict()
    changed = {key for key in state if not torch.equal(state[key], before[key])}
    assert {f'backbone.{key}' for key in changed} == {
        f'backbone.{key}' for key in state if key.startswith('image.')
    } - set(fresh)


def test_bias_tables_of_another_window(tmp_path, swin):
    torch.save(dict(model=classifier(swin)), tmp_path / 'swin.pth')
    model = backbone(image=dict(window=6))
    load_pretrained(model, image=str(tmp_path / 'swin.pth'))
    ours = model.image.stages[2].blocks[1].attn.relative_position_bias_table
    theirs = swin.stages[2].blocks[1].attn.w_msa.relative_position_bias_table
    assert torch.equal(ours, resize_bias_table(theirs.detach(), 121))


def test_swin_of_another_architecture(tmp_path, swin):
    weights = classifier(swin)
    weights['absolute_pos_embed'] = torch.ones(1, 4, 16)
    torch.save(dict(model=weights), tmp_path / 'swin.pth')
    with pytest.raises(ConversionError) as error:
        load_pretrained(backbone(image=dict(depths=(2, 2, 3, 2))), image=str(tmp_path / 'swin.pth'))
    message = str(error.value)
    assert 'without a place: absolute_pos_embed' in message
    assert 'missing: backbone.image.stages.2.blocks.2.attn.qkv.weight' in message
    with pytest.raises(ConversionError, match=r'\(16, 3, 4, 4\), in the model \(32, 3, 4, 4\)'):
        load_pretrained(backbone(image=dict(embed_dim=32)), image=str(tmp_path / 'swin.pth'))


def test_missing_and_harmful_files(tmp_path):
    with pytest.raises(ConversionError, match='gone.pth: no such file'):
        load_pretrained(backbone(), image=str(tmp_path / 'gone.pth'))
    torch.save(dict(model=print), tmp_path / 'evil.pth')
    with pytest.raises(ConversionError, match='refused.*print'):
        load_pretrained(backbone(), image=str(tmp_path / 'evil.pth'))
    with pytest.raises(ConversionError, match='no Hugging Face model there'):
        load_pretrained(backbone(), text=str(tmp_path / 'gone'))


def test_url_is_fetched_once(tmp_path, swin, monkeypatch):
    torch.save(dict(model=classifier(swin)), tmp_path / 'swin.pth')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    url = f'file://{tmp_path}/swin.pth'
    monkeypatch.setattr('fiber_mmdet.checkpoints.downloads.URL_SCHEMES', ('file',))
    monkeypatch.setattr('fiber_mmdet.checkpoints.downloads.TRIES', 1)
    for _ in range(2):
        model = backbone()
        load_pretrained(model, image=url)
        assert torch.equal(model.image.patch_embed.proj.weight, swin.patch_embed.projection.weight)
        (tmp_path / 'swin.pth').unlink(missing_ok=True)
    with pytest.raises(ConversionError, match='cannot be downloaded'):
        load_pretrained(backbone(), image=url.replace('swin', 'other'))


# ----------------------------------------------------------------- text
@pytest.fixture(scope='module')
def roberta(tmp_path_factory):
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=20,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    model = randomised(RobertaModel(config))
    folder = tmp_path_factory.mktemp('roberta')
    model.save_pretrained(folder)
    return model, str(folder)


def test_text_tower_is_roberta(roberta, log):
    theirs, folder = roberta
    model = backbone()
    load_pretrained(model, text=folder)
    ids = torch.randint(4, 100, (3, 18))
    mask = torch.ones_like(ids)
    for row, length in enumerate((18, 7, 1)):
        ids[row, length:], mask[row, length:] = 1, 0
    with torch.no_grad():
        expected = theirs(ids, mask).last_hidden_state
        found = model.finish_text(model.encode_text(ids, mask))
    real = mask.bool()
    assert (found - expected)[real].abs().max() < 2e-5 * expected.abs().max()
    unused, fresh = logged(log)
    assert set(unused) == {'pooler.dense.weight', 'pooler.dense.bias'}
    assert all('image_attention' in key for key in fresh)


@pytest.mark.parametrize(
    'argument, value, message',
    [
        ('num_layers', 3, 'num_hidden_layers=4, but the tower has 3'),
        ('num_layers', 5, 'num_hidden_layers=4, but the tower has 5'),
        ('vocab_size', 90, 'vocab_size=100, but the tower has 90'),
        ('vocab_size', 110, 'vocab_size=100, but the tower has 110'),
        ('num_heads', 2, 'num_attention_heads=4, but the tower has 2'),
        ('max_positions', 30, 'max_position_embeddings=20, but the tower has 30'),
        ('norm_eps', 1e-12, 'layer_norm_eps=1e-05, but the tower has 1e-12'),
        ('dim', 64, 'hidden_size=32, but the tower has 64'),
        ('ffn_dim', 128, r'ffn.fc1.weight: \(64, 32\), in the model \(128, 32\)'),
    ],
)
def test_roberta_of_another_architecture(roberta, argument, value, message):
    with pytest.raises(ConversionError, match=message):
        load_pretrained(backbone(text={argument: value}), text=roberta[1])


def change_weights(folder, change):
    """Write the weights of a folder anew."""
    from safetensors.torch import load_file, save_file

    file = folder / 'model.safetensors'
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata=dict(format='pt'))


LAYER = 'encoder.layer.2.output.dense.weight'


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-8]), 'safetensors: its header describes'),
        (lambda f: f.write_bytes(b'\xff' * 8 + f.read_bytes()[8:]), 'its header claims'),
        (lambda f: f.write_bytes(f.read_bytes().replace(b'"F32"', b'"F16"', 1)), 'no Hugging Face'),
        (lambda f: f.write_bytes(b'Hello, this is a text'), 'safetensors: .*not begin as'),
        (
            lambda f: change_weights(f.parent, lambda x: x[LAYER].fill_(float('nan'))),
            f'not finite .*{LAYER}',
        ),
        (
            lambda f: change_weights(f.parent, lambda x: x.pop(LAYER)),
            f'1 weights are missing, such as {LAYER}',
        ),
    ],
    ids=['truncated', 'false length', 'false type', 'text', 'nan', 'missing'],
)
def test_damaged_weights_of_the_text_tower(roberta, tmp_path, damage, message):
    """transformers names no file, and draws at random what it does not find."""
    folder = tmp_path / 'roberta'
    shutil.copytree(roberta[1], folder)
    damage(folder / 'model.safetensors')
    with pytest.raises(ConversionError, match=message) as caught:
        load_pretrained(backbone(), text=str(folder))
    assert str(folder) in str(caught.value)


def assert_same_text(model, theirs):
    """Our text tower has the hidden states of a model of transformers."""
    ids = torch.randint(4, 100, (2, 9))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        expected = theirs(ids, mask).last_hidden_state
        found = model.finish_text(model.encode_text(ids, mask.bool()))
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize(
    'prefix', ['text_transformer.', 'text_model.', 'bridgetower.text_model.', 'roberta.', '']
)
def test_text_tower_of_a_larger_model(tmp_path, roberta, log, prefix):
    theirs, _ = roberta
    weights = {prefix + key: value for key, value in theirs.state_dict().items()}
    others = {f'{prefix}encoder.layer.3.crossattention_t2i.self.key.weight': torch.ones(32, 128)}
    if prefix:
        others['vision_model.visual.ln_post.bias'] = torch.ones(4)
    torch.save(dict(state_dict={**weights, **others}), tmp_path / 'model.ckpt')
    model = backbone()
    load_pretrained(model, text=str(tmp_path / 'model.ckpt'))
    assert_same_text(model, theirs)
    unused, fresh = logged(log)
    assert set(unused) == {*others, f'{prefix}pooler.dense.weight', f'{prefix}pooler.dense.bias'}
    assert all('image_attention' in key for key in fresh)
    assert 'does not say how its RoBERTa is set: heads (4)' in log[0]


@pytest.mark.parametrize('prefix', ['language_backbone.body.model.', 'bert.'])
def test_bert_of_a_larger_model(tmp_path, log, prefix):
    """GLIP's and Grounding DINO's: positions count from 0, and there are two token types."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=19,
    )
    theirs = randomised(BertModel(config, add_pooling_layer=False))
    weights = {prefix + key: value for key, value in theirs.state_dict().items()}
    torch.save(dict(weights, other=torch.ones(1)), tmp_path / 'model.pth')
    model = backbone(text=dict(pad_id=0, norm_eps=1e-12))
    load_pretrained(model, text=str(tmp_path / 'model.pth'))
    assert_same_text(model, theirs)
    assert 'row i of the table became row i + 1' in log[0]
    with pytest.raises(ConversionError, match=r'position.weight: \(21, 32\), in the model'):
        load_pretrained(backbone(), text=str(tmp_path / 'model.pth'))


def test_files_without_a_text_tower(tmp_path, swin):
    torch.save(dict(model=classifier(swin)), tmp_path / 'swin.pth')
    with pytest.raises(ConversionError, match="swin.pth: no text tower in it: .*'text_model.'"):
        load_pretrained(backbone(), text=str(tmp_path / 'swin.pth'))
    torch.save({'embeddings.word_embeddings.weight': torch.ones(100, 32)}, tmp_path / 'words.pth')
    with pytest.raises(ConversionError, match='are not of a text tower'):
        load_pretrained(backbone(), text=str(tmp_path / 'words.pth'))


def test_prompt_rows_may_be_fresh(roberta):
    model = backbone(text=dict(prompt_rows=18))
    load_pretrained(model, text=roberta[1])
    assert not model.text.prompt_rows.any()


def test_both_through_the_config(tmp_path, swin, roberta):
    torch.save(dict(model=classifier(swin)), tmp_path / 'swin.pth')
    model = backbone(pretrained=dict(image=str(tmp_path / 'swin.pth'), text=roberta[1]))
    model.init_weights()
    assert torch.equal(model.image.patch_embed.proj.weight, swin.patch_embed.projection.weight)
    assert torch.equal(
        model.text.embeddings.word.weight, roberta[0].embeddings.word_embeddings.weight
    )


def test_what_an_address_sends_has_to_be_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with LoopbackHub() as hub:
        hub.put('/swin.pth', b'<html>Sign in</html>')
        with pytest.raises(ConversionError, match='leads to an HTML page'):
            local_file(f'{hub.url}/swin.pth')
        hub.put('/swin.pth', b'PK\x03\x04')
        assert local_file(f'{hub.url}/swin.pth').read_bytes() == b'PK\x03\x04'
    with pytest.raises(ConversionError, match='fiber://swin-b: only paths'):
        local_file('fiber://swin-b')
