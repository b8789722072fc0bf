"""What differs between a file and a model is told in options of the config, all at once."""

import pytest
import torch

from fiber_mmdet.checkpoints.fitting import MisfitError, fitting_weights, refuse_stranger
from fiber_mmdet.checkpoints.model_options import model_options, option_differences
from tiny_checkpoints import image_text_model, tiny_model


def test_options_are_read_from_weights():
    assert model_options(tiny_model(i2t_norm=True).state_dict()) == {
        'backbone.image.embed_dim': 16,
        'backbone.image.patch': 4,
        'backbone.image.depths': [1, 1, 2, 1],
        'backbone.image.num_heads': [1, 2, 4, 8],
        'backbone.image.window': 4,
        'backbone.out_indices': [1, 2, 3],
        'backbone.i2t_norm': True,
        'backbone.num_fused (image blocks)': 2,
        'backbone.num_fused (text layers)': 2,
        'backbone.text.num_layers': 3,
        'backbone.text.dim': 32,
        'backbone.text.ffn_dim': 64,
        'backbone.text.vocab_size': 100,
        'backbone.text.max_positions': 20,
        'neck.in_channels': [32, 64, 128],
        'neck.out_channels': 32,
        'neck.num_outs': 5,
        'bbox_head.num_blocks': 1,
        'bbox_head.channels': 32,
        'bbox_head.text_dim': 32,
        'bbox_head.deformable': True,
    }
    found = model_options(image_text_model().state_dict())
    assert found['dim'] == 48 and 'neck.out_channels' not in found
    assert 'backbone.out_indices' not in found


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(window=6), 'backbone.image.window is 4 in the file and 6 in the config'),
        (dict(i2t_norm=True), 'backbone.i2t_norm is False in the file and True'),
        (dict(num_fused=1), 'backbone.num_fused (image blocks) is 2 in the file and 1'),
    ],
)
def test_each_difference_is_found(change, said):
    file, model = tiny_model().state_dict(), tiny_model(**change).state_dict()
    found = list(option_differences(file, model))
    assert any(text.startswith(said) for text in found)
    assert (list(option_differences(file, model, resize=True)) == []) == ('window' in change)
    assert list(option_differences(file, file)) == []


def test_all_differences_are_in_one_message():
    file = tiny_model(i2t_norm=True).state_dict()
    model = tiny_model(num_fused=1, window=6)
    with pytest.raises(MisfitError) as error:
        fitting_weights(dict(state_dict=file), model, 'a.pth')
    for option in ('image.window is 4', 'i2t_norm is True', 'num_fused (text layers) is 2'):
        assert option in str(error.value)
    said = r'i2t_norm=True.* Also, .*num_fused \(text layers\) is 2'
    with pytest.raises(MisfitError, match=said):
        refuse_stranger(dict(state_dict=file), model, 'a.pth')


def test_tensors_of_another_rank_are_no_options():
    assert model_options({'dim': torch.ones(2), 'bbox_head.box_conv.weight': torch.ones(3)}) == {
        'bbox_head.deformable': False
    }
