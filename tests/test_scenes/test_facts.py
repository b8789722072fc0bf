"""Single facts about scenes: each is true, and stays true of the mirrored image with its words."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from fiber_mmdet.datasets import RegionPhraseDataset
from fiber_mmdet.datasets.transforms.caption_flip import mirror_words
from fiber_scenes import HELD_OUT, SPLITS, ask, facts, sample_scene, write_dataset
from scene_words import (
    RELATIONS,
    SINGULAR,
    is_beside,
    is_clearly_beside,
    objects_of,
    read_counted,
    the_one,
)

COUNT = 80
SIDES = '|'.join(RELATIONS)
PREPOSITIONS = {'in': {'middle'}, 'on': {'left', 'right'}}


def kind_if_true(fact, scene):
    """What kind of fact a sentence is; asserts that it holds, and that its grammar is right."""
    background = re.fullmatch('the image has a ([a-z]+) background', fact)
    if background:
        assert background[1] == scene.background.kind
        return 'background'
    missing = re.fullmatch('there (is|are) no ([a-z ]+)', fact)
    if missing:
        assert (missing[1] == 'are') == (missing[2].split()[-1] in SINGULAR)
        assert not objects_of(missing[2], scene)
        return 'absence'
    some = re.fullmatch('there are ((?:(?:small|large) )?(?:[a-z]+ )?[a-z]+)', fact)
    if some and ' ' + some[1].split()[0] + ' ' not in ' two three four five six ':
        assert len(objects_of(some[1], scene)) > 1 and some[1].split()[-1] in SINGULAR
        return 'presence'
    there = re.fullmatch('there (is|are) ([a-z ]+)', fact)
    if there:
        number, words = read_counted(there[2])
        assert len(objects_of(words, scene)) == number and (there[1] == 'is') == (number == 1)
        return 'presence' if there[2].startswith(('a ', 'an ')) else 'number'
    beside = re.fullmatch(rf'the ([a-z ]+) is ({SIDES}) the ([a-z ]+)', fact)
    if beside:
        a, b = (the_one(beside[k], scene) for k in (1, 3))
        assert a is not b and is_clearly_beside(beside[2], a, b, 6 * scene.scale)
        return 'relation'
    where = re.fullmatch('the ([a-z ]+) is (at|on|in) the ([a-z ]+)', fact)
    if where:
        assert where[3] in PREPOSITIONS.get(where[2], {where[3]})
        x, y = (v / scene.image_size for v in the_one(where[1], scene).center)
        assert ('left' in where[3]) == (x < 1 / 3) and ('right' in where[3]) == (x > 2 / 3)
        assert ('top' in where[3]) == (y < 1 / 3) and ('bottom' in where[3]) == (y > 2 / 3)
        return 'place'
    what, verb, value = re.fullmatch('the ([a-z ]+) (is|are) ([a-z ]+)', fact).groups()
    related = re.fullmatch(rf'object ({SIDES}) the ([a-z ]+)', what)
    if related:
        anchor = the_one(related[2], scene)
        found = [o for o in scene.objects if o is not anchor and is_beside(related[1], o, anchor)]
        assert len(found) == 1 and is_clearly_beside(related[1], *found, anchor, 6 * scene.scale)
    else:
        found = objects_of(what, scene)
        assert (what.split()[-1] in SINGULAR) == (len(found) > 1)
    assert found and (verb == 'is') == (len(found) == 1)
    *article, word = value.split()
    assert article == (['a'] if len(found) == 1 and word in {o.shape for o in found} else [])
    word = SINGULAR.get(word, word)
    for item in found:
        assert word in (item.color, item.shape, item.size)
    kind = {found[0].color: 'color', found[0].shape: 'shape', found[0].size: 'size'}[word]
    return f'related {kind}' if related else kind


def mirrored(scene):
    return replace(
        scene,
        objects=tuple(
            replace(
                item,
                box=(
                    scene.image_size - item.box[2],
                    item.box[1],
                    scene.image_size - item.box[0],
                    item.box[3],
                ),
                rotation=-item.rotation,
            )
            for item in scene.objects
        ),
    )


@pytest.mark.parametrize('split', SPLITS)
def test_facts_are_true_also_when_mirrored(split):
    kinds = Counter()
    sided = 0
    for index in range(COUNT):
        scene = sample_scene(split, index)
        found = facts(scene, 15)
        assert found == facts(sample_scene(split, index), 15)
        assert len(set(found)) == len(found) == 15
        for fact in found:
            kinds[kind_if_true(fact, scene)] += 1
            other = mirror_words(fact)[0]
            sided += other != fact
            assert kind_if_true(other, mirrored(scene))
    assert sided > COUNT
    expected = 'background absence presence number relation place color shape size'.split()
    assert set(kinds) == {*expected, 'related color', 'related shape'}
    assert min(kinds[kind] for kind in expected) > COUNT / 2


def test_facts_answer_the_questions():
    """What a question asks for stands in its fact."""
    said = Counter()
    for index in range(COUNT):
        for question in ask(sample_scene('val', index), 12):
            kind = kind_if_true(question.fact, sample_scene('val', index))
            said[question.kind, kind.split()[-1]] += 1
            if kind in ('color', 'size', 'place', 'related color'):
                assert question.fact.endswith(question.answer)
    assert set(said) == {
        ('how many', 'number'),
        ('how many', 'absence'),
        ('is there', 'presence'),
        ('is there', 'absence'),
        ('is the', 'relation'),
        ('where is', 'place'),
        ('what color', 'color'),
        ('what shape', 'shape'),
        ('what size', 'size'),
    }


def test_training_facts_name_no_held_out_combination():
    text = '. '.join(fact for i in range(150) for fact in facts(sample_scene('train', i), 15))
    assert not any(' '.join(pair) in text for split in SPLITS for pair in HELD_OUT[split])


def test_file_of_facts(tmp_path):
    kwargs = dict(sizes=dict(train=5, val=2), image_size=64, seed=2, progress=False)
    meta = write_dataset(tmp_path / 'data', train_facts=6, train_sentences=1, **kwargs)
    assert meta['train_facts'] == 6 and meta['counts']['train']['facts'] == 30
    assert 'facts' not in meta['counts']['val']
    folder = tmp_path / 'data/annotations'
    assert [file.name for file in folder.glob('facts_*')] == ['facts_train.json']
    records = json.loads((folder / 'facts_train.json').read_text())
    regions = [region for record in records for region in record['regions']]
    assert len({region['region_id'] for region in regions}) == 30
    assert all((r['x'], r['y'], r['width'], r['height']) == (0, 0, 64, 64) for r in regions)
    questions = json.loads((folder / 'vqa_train_questions.json').read_text())['questions']
    images = json.loads((folder / 'captions_karpathy.json').read_text())['images']
    ids = {r['image_id'] for r in regions}
    assert ids == {q['image_id'] for q in questions} == {i['cocoid'] for i in images[:5]}
    dataset = RegionPhraseDataset(
        'annotations/facts_train.json',
        folders='train',
        image_template='{folder}/{image_id:06d}.jpg',
        data_root=str(tmp_path / 'data'),
        data_prefix=dict(img='images'),
        texts_per_image=6,
    )
    assert len(dataset) == 5
    sample = dataset[3]
    path = tmp_path / 'data/images/train/000003.jpg'
    assert sample['views']['image']['img_path'] == str(path) and path.is_file()
    found = [text['text'] for text in sample['texts']]
    assert found == facts(sample_scene('train', 3, 2, 64), 6)
    assert write_dataset(tmp_path / 'data', train_facts=6, train_sentences=1, **kwargs) == meta
    with pytest.raises(FileExistsError, match="'train_facts': 6"):
        write_dataset(tmp_path / 'data', train_sentences=1, **kwargs)
    with pytest.raises(ValueError, match='train_facts=-1 must be at least 0'):
        write_dataset(tmp_path / 'none', train_facts=-1, **kwargs)
