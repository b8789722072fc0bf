"""Description prompts: files in both forms, and DesCo's published rule for LVIS."""

import copy
import json
import pickle
import re

import pytest

from fiber_mmdet.text import (
    Description,
    PromptError,
    PromptTokenizer,
    category_prompt,
    describe,
    label_tokens,
    match_names,
    prompt_passes,
    read_descriptions,
)
from fiber_mmdet.text.descriptions import readable_name

ZEBRA = Description('animal', ('black and white stripes', 'four legs'))


def generated(name, **said):
    text = json.dumps(said) if said else 'A very nice thing.'
    return dict(object=name, object_id=1, gpt3_output=f'\n{text}')


@pytest.fixture
def write(tmp_path):
    """``write(content)``: path of a json file."""

    def write(content):
        path = tmp_path / 'descriptions.json'
        path.write_text(json.dumps(content))
        return str(path)

    return write


# ------------------------------------------------------------------ the published file
@pytest.fixture(scope='module')
def lvis(shared_dir):
    """The published entries for LVIS, in its order, and a tokenizer."""
    file = shared_dir / 'data/descriptions/lvis_v1.description.v1.json'
    return file, PromptTokenizer(str(shared_dir / 'roberta-base'))


def published_prompts(file):
    """DesCo's rule as its notes state it: texts of prompts, and per label the characters."""
    prompts = []
    for number, entry in enumerate(json.loads(file.read_text())):
        if number % 8 == 0:
            prompts.append(['Detect: ', []])
        name = re.sub('  ', ' ', re.sub('_', ' ', re.sub(r'\(.*\)', '', entry['object'])))
        said = json.loads(entry['gpt3_output'])
        head = f'{name}, a kind of {said["type"]}, '
        begin = len(prompts[-1][0])
        prompts[-1][0] += head + ', '.join(said['description'].split('; ')) + '. '
        prompts[-1][1].append((begin, begin + len(head)))
    return prompts


def tokens_of_span(encoding, begin, end):
    """Tokens from the first to the last character, looking up to two characters inwards."""
    first = next(t for c in range(begin, begin + 3) if (t := encoding.char_to_token(c)) is not None)
    last = next(
        t for c in range(end - 1, end - 4, -1) if (t := encoding.char_to_token(c)) is not None
    )
    return list(range(first, last + 1))


def test_prompts_of_lvis_are_the_published_ones(lvis):
    file, tokenizer = lvis
    expected = published_prompts(file)
    names = [entry['object'] for entry in json.loads(file.read_text())]
    passes = prompt_passes(
        names, caption_prompt=describe(names, str(file), tokenizer=tokenizer), chunked_size=8
    )
    assert len(passes) == len(expected) == 151
    assert [phrase for prompt in passes for phrase in prompt.phrases] == names
    lengths, labels = [], 0
    for prompt, (text, spans) in zip(passes, expected):
        whole = tokenizer.tokenizer(text)
        cut = tokenizer.tokenizer(text, truncation=True, max_length=256)
        found = tokenizer([prompt])
        lengths.append(len(whole['input_ids']))
        assert found.ids[0].tolist() == cut['input_ids']
        assert prompt.caption == (text if lengths[-1] <= 256 else text[:-2])
        of_labels = [tokens_of_span(cut.encodings[0], *span) for span in spans]
        assert label_tokens(found, 0, prompt) == of_labels
        # up to the comma after the type: the blank after it has no token
        assert prompt.spans == tuple(((begin, end - 1),) for begin, end in spans)
        labels += len(spans)
    assert labels == 1203
    assert (min(lengths), max(lengths), lengths[-1]) == (86, 258, 86)
    assert round(sum(lengths) / len(lengths), 1) == 208.2
    assert [number for number, length in enumerate(lengths) if length > 256] == [78]
    # without a tokenizer the long one is as long as the rule makes it
    plain = prompt_passes(names, caption_prompt=describe(names, str(file)), chunked_size=8)
    assert [prompt.caption for prompt in plain] == [text for text, _ in expected]
    with pytest.raises(PromptError, match='258 tokens'):
        tokenizer([plain[78]])


@pytest.mark.parametrize(
    'number, label, characters, positions, tokens, begin, length',
    [
        (
            0,
            0,
            (8, 41),
            range(3, 12),
            'Ġaeros ol Ġcan , Ġa Ġkind Ġof Ġcontainer ,',
            'Detect: aerosol can, a kind of container, cylindrical, could be used to store liquids '
            'or gases, could be pressurized, could have a nozzle. air conditioner, a kind of '
            'appliance, large, rectangular, has a fan',
            240,
        ),
        (
            0,
            1,
            (139, 176),
            range(35, 44),
            'Ġair Ġcondition er , Ġa Ġkind Ġof Ġappliance ,',
            'Detect: ',
            240,
        ),
        (7, 7, (679, 702), range(166, 173), 'Ġbat Ġ, Ġa Ġkind Ġof Ġanimal ,', 'Detect: ', 186),
    ],
)
def test_worked_examples(lvis, number, label, characters, positions, tokens, begin, length):
    file, tokenizer = lvis
    names = [entry['object'] for entry in json.loads(file.read_text())][: 8 * (number + 1)]
    words = describe(names, str(file), tokenizer=tokenizer)
    prompt = prompt_passes(names, caption_prompt=words, chunked_size=8)[number]
    assert prompt.caption.startswith(begin)
    assert prompt.spans[label] == (characters,)
    found = tokenizer([prompt])
    written = found.encodings[0].tokens
    assert len(written) == length
    assert label_tokens(found, 0, prompt)[label] == list(positions)
    assert [written[i] for i in positions] == tokens.split()
    assert written[:3] == ['<s>', 'Detect', ':']
    assert written[-3:] == ['.', 'Ġ', '</s>']


def test_objects365_is_read(shared_dir):
    found = read_descriptions(str(shared_dir / 'data/descriptions/o365.description.v1.json'))
    assert len(found) == 362
    assert found['CD'] == Description(
        'storage device',
        ('round', 'could store music, videos, and other data'),
        ('DVD', 'Blu-ray', 'USB drive'),
    )


# ------------------------------------------------------------------------- other files
def test_both_forms_say_the_same(write):
    plain = read_descriptions(
        write({'zebra': ['animal', ZEBRA.pieces], 'CD': ['disc', [], ['DVD']]})
    )
    assert plain == {'zebra': ZEBRA, 'CD': Description('disc', (), ('DVD',))}
    published = read_descriptions(
        write(
            [
                generated('zebra', type='animal', description='; '.join(ZEBRA.pieces)),
                generated('CD', type='disc', description='', **{'similar objects': ['DVD', 3]}),
            ]
        )
    )
    assert published == plain


def test_text_that_cannot_be_parsed_is_an_object(write, caplog):
    entries = [generated('zebra', type='animal', description='four legs')]
    entries += [generated(name) for name in 'abcd'] + [generated('e', type='animal')]
    found = read_descriptions(write(entries))
    assert found['a'] == found['e'] == Description('object', ())
    assert '5 of 6 entries' in caplog.text and "('a', 'b', 'c', …)" in caplog.text
    assert (
        prompt_passes(['a', 'zebra'], caption_prompt=describe(['a', 'zebra'], found))[0].caption
        == 'Detect: a, a kind of object. zebra, a kind of animal, four legs. '
    )


@pytest.mark.parametrize(
    'content, message',
    [
        ({}, 'has no descriptions'),
        ([], 'has no descriptions'),
        ('zebra', 'holds a str'),
        ({'zebra': 'animal'}, "'zebra' has description 'animal': it must be .type, .pieces"),
        ({'zebra': ['animal', 'stripes']}, "'zebra' has description"),
        ({'zebra': ['animal', ['stripes', 4]]}, "'zebra' has description"),
        ({'zebra': ['animal']}, "'zebra' has description"),
        ({'zebra': [' ', ['stripes']]}, "'zebra' has description"),
        ({' ': ['animal', []]}, "as a name ' '"),
        (['zebra'], "entry 0 is 'zebra': it must be an object with 'object', 'gpt3_output'"),
        ([dict(object='zebra')], "entry 0 has no 'gpt3_output'.*has 'object'"),
        ([generated('zebra'), generated(7)], 'entry 1 has object 7: it must be text'),
        ([dict(generated('zebra'), gpt3_output=[])], 'entry 0 has gpt3_output'),
        ([generated('zebra'), generated('zebra')], "2 entries have the object 'zebra'"),
    ],
)
def test_malformed_files(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as error:
        read_descriptions(path)
    assert path in str(error.value)


def test_content_instead_of_a_file(write):
    plain = {'zebra': ['animal', ['stripes', 'four legs']], 'CD': ['disc', []]}
    expected = describe(['CD', 'zebra'], write(plain))
    assert describe(['CD', 'zebra'], plain) == expected
    assert describe(['CD', 'zebra'], dict(plain, CD=Description('disc'))) == expected
    with pytest.raises(ValueError, match="descriptions: 'zebra' has description 'animal'"):
        describe(['zebra'], {'zebra': 'animal'})
    with pytest.raises(ValueError, match=r"\['zebra'\] must be the path of a file"):
        describe(['zebra'], ['zebra'])


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.json'):
        describe(['zebra'], str(tmp_path / 'none.json'))


# ------------------------------------------------------------------------------- words
@pytest.mark.parametrize(
    'name, known, found',
    [
        ('traffic_light', ['Traffic Light'], True),
        ('Traffic  light', ['traffic_light'], True),
        ('traffic light', ['Traffic-Light'], True),
        ('traffic light', ['traffic_light', 'traffic-light'], False),
        ('bat_(stick)', ['bat_(animal)'], False),
        ('bat', ['bat_(animal)'], False),
        ('zebra', ['Zebra', 'ZEBRA'], False),
        ('zebra', ['zebra', 'ZEBRA'], True),
    ],
)
def test_names_are_matched(name, known, found):
    descriptions = {one: Description(one) for one in known}
    expected = {name: Description(known[0])} if found else {}
    assert match_names([name], descriptions) == expected


@pytest.mark.parametrize(
    'name, readable',
    [
        ('bat_(animal)', 'bat '),
        ('dog:ear_(left)', 'ear  of dog'),
        ('a:b:c', 'a:b:c'),
        (':b', ':b'),
    ],
)
def test_readable_names(name, readable):
    assert readable_name(name) == readable


def test_prompts_of_a_few_names():
    known = dict(zebra=ZEBRA, cow=Description('animal', ('horns',)))
    words = describe(['zebra', 'cow', 'zebra_(toy)'], known, size=2)
    prompts = prompt_passes(['zebra', 'cow', 'zebra_(toy)'], caption_prompt=words, chunked_size=2)
    assert [prompt.caption for prompt in prompts] == [
        'Detect: zebra, a kind of animal, black and white stripes, four legs. '
        'cow, a kind of animal, horns. ',
        'Detect: zebra . ',
    ]
    assert [
        prompt.caption[begin:end] for prompt in prompts for ((begin, end),) in prompt.spans
    ] == ['zebra, a kind of animal,', 'cow, a kind of animal,', 'zebra ']
    assert [prompt.phrases for prompt in prompts] == [('zebra', 'cow'), ('zebra_(toy)',)]
    everything = describe(['zebra', 'cow'], known, size=-1)
    assert category_prompt(['zebra', 'cow'], everything).caption == prompts[0].caption


def test_names_without_a_description_are_named(caplog):
    describe(['zebra', 'cow', 'x'], dict(zebra=ZEBRA))
    assert "no description of 2 of 3 names ('cow', 'x')" in caplog.text
    with pytest.raises(PromptError, match="none of the 1 names .'cow'., but 'zebra'"):
        describe(['cow'], dict(zebra=ZEBRA))
    with pytest.raises(PromptError, match='leaves no text'):
        describe(['_(animal)', 'zebra'], dict(zebra=ZEBRA))


def test_words_belong_to_a_number_of_names():
    """Asked in other chunks, "Detect:" would stand anywhere."""
    names = ['zebra', 'cow', 'horse']
    words = describe(names, {name: ZEBRA for name in names}, size=2)
    for other in (words, copy.deepcopy(words), pickle.loads(pickle.dumps(words))):
        assert other == words and other.size == 2
        for size in (1, 3, -1):
            with pytest.raises(PromptError, match='2 names per prompt'):
                prompt_passes(names, caption_prompt=other, chunked_size=size)
        assert len(prompt_passes(names, caption_prompt=other, chunked_size=2)) == 2
    few = describe(names, {name: ZEBRA for name in names}, size=8)
    assert len(prompt_passes(names, caption_prompt=few)) == 1


def test_prompts_that_are_too_long_lose_their_end():
    tokenizer = PromptTokenizer('fiber_mmdet:mini')
    known = dict(zebra=ZEBRA, cow=Description('animal', ('brown and white spots', 'two horns')))
    names = ['zebra', 'cow']
    whole = tokenizer([category_prompt(names, describe(names, known))])
    spans = label_tokens(whole, 0, category_prompt(names, describe(names, known)))
    ids, last = whole.ids[0].tolist(), spans[-1][-1]
    for limit in range(len(ids), last + 1, -1):
        short = PromptTokenizer('fiber_mmdet:mini', max_tokens=limit)
        prompt = category_prompt(names, describe(names, known, tokenizer=short))
        found = short([prompt])  # which refuses more
        kept = found.ids.shape[1] - 1
        assert kept <= limit - 1 and found.ids[0, :kept].tolist() == ids[:kept]
        assert kept == limit - 1 or limit == len(ids)
        assert label_tokens(found, 0, prompt) == spans
    for limit in range(last + 1, 3, -1):
        short = PromptTokenizer('fiber_mmdet:mini', max_tokens=limit)
        with pytest.raises(PromptError, match="end within the name or type of 'cow'"):
            describe(names, known, tokenizer=short)


def test_descriptions_that_cannot_be_told_apart():
    twice = {'Zebra': ['animal', ['striped']], 'ZEBRA': ['horse', ['black']]}
    assert describe(['ZEBRA'], twice)['ZEBRA']['name'] == 'ZEBRA, a kind of horse,'
    with pytest.raises(PromptError, match="'Zebra', 'ZEBRA', and each of these fits 'zebra'"):
        describe(['zebra', 'Zebra'], twice)
    with pytest.raises(PromptError, match='has no descriptions: it must be'):
        describe(['zebra'], {})
