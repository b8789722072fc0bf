"""``$: coco`` stands for the categories of a dataset."""

import pytest

from fiber_mmdet.apis.inputs import read_query
from fiber_mmdet.text import PromptError, parse_prompt, prompt_passes


def test_a_dataset_is_its_categories():
    prompt = parse_prompt('$: coco')
    assert len(prompt.phrases) == 80 and prompt.phrases[:2] == ('person', 'bicycle')
    assert prompt == parse_prompt(list(prompt.phrases))
    passes = prompt_passes(' $:coco ', chunked_size=30)
    assert [len(part.phrases) for part in passes] == [30, 30, 20]
    assert sum((part.phrases for part in passes), ()) == prompt.phrases


def test_unknown_datasets_are_named_and_other_texts_are_not_touched():
    with pytest.raises(PromptError, match="does not know 'mine': it knows .*coco"):
        parse_prompt('$: mine')
    assert parse_prompt('a $ sign', tokens_positive=-1).caption == 'a $ sign'
    # nor are captions with marked words, as datasets have them
    marks = [[[3, 7]]]
    assert parse_prompt('$: five dollars', tokens_positive=marks).phrases == ('five',)
    assert prompt_passes('$: five dollars', tokens_positive=marks)[0].phrases == ('five',)
    assert read_query('$: five dollars', phrases=['five']).prompt.phrases == ('five',)
