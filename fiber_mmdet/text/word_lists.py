"""A small part-of-speech tagger made of word lists, for offline machines.

It knows the closed word classes of English and the plain verbs, colours and
sizes of image captions; every other word is a noun, which is the safe side
for someone looking for things. Tags are those of the Penn Treebank.
"""

import re
from functools import cache

_WORDS = {
    'DT': """a an the this that these those some any no each every another
        both all either neither""",
    'PRP$': 'my your his her its our their whose',
    'CD': """one two three four five six seven eight nine ten eleven twelve
        twenty thirty fifty hundred thousand""",
    'CC': 'and or but nor yet plus',
    'PRP': """i you he she it we they me him us them who whom which what
        himself herself itself themselves someone something anyone anything
        everyone everything nobody nothing there here where when why how""",
    'IN': """of in on at by for with without from into onto to as than like
        if while because through over under above below between behind beside
        besides beneath near against along across around about after before
        during until toward towards inside outside off up down out upon via
        within among amongst per beyond despite except""",
    'MD': """is are was were be been being am 's 'm 're 've 'd 'll do does did
        has have had can could will would shall should may might must not n't
        ca wo having done doing""",
    'RB': """very too also just only together away apart still again then now
        so not almost quite rather far close next closely nearby else ever
        never always often maybe perhaps more most less least upside sideways
        overhead outdoors indoors ahead alone""",
    'JJ': """red green blue yellow purple black white brown gray grey pink
        cyan violet beige tan maroon golden teal turquoise dark bright pale
        colorful colourful small large big little tiny huge tall short long
        wide narrow thick thin high low old young new fresh clean dirty wet
        dry hot cold warm cool open empty full round flat sharp
        soft hard heavy plain noisy wavy busy happy sad beautiful pretty cute nice
        good bad same different other several many few much own single double
        whole wooden metallic electric modern ancient blond blonde bald male
        female asian african american european grassy sandy snowy
        cloudy sunny rocky leafy fluffy furry hairy shiny smooth rough blurry
        ripe raw ready various multiple larger smaller bigger taller shorter
        older younger largest smallest biggest tallest shortest closest
        nearest leftmost rightmost topmost first second third last upper
        lower striped checkered chequered spotted dotted colored coloured
        curved pointed framed""",
    'VB': """stand sit hold wear ride walk run eat lie hang throw catch carry
        push pull talk smile lean read write wait stands sits holds wears
        rides walks runs eats looks lies hangs flies throws catches carries
        pushes pulls drives talks smiles leans reads waits plays jumps gets
        goes makes takes uses shows contains rests stood sat held wore rode
        ran ate lay hung flew threw caught made took got went drove wrote
        seen shown worn held made taken find see get make take go have use
        ate look looks covers faces appears seems touches surrounds""",
}
# Words that name things although their endings say otherwise.
_NOUNS = """bed shed sled bobsled weed seed reed steed feed need speed moped
    thing ring king string wing spring swing sling building ceiling painting
    drawing railing clothing wedding evening morning earring stocking frosting
    icing topping dressing pudding awning lightning crossing parking dining
    siding paving ping bling herring duckling sibling offspring table cable
    vegetable stable timetable finish dish fish radish"""
# Adjectives before a noun or another adjective, nouns elsewhere.
_NOUN_OR_ADJECTIVE = frozenset(
    """orange light gold silver square rose cream
    glass metal plastic stone brick leather paper""".split()
)
# Directions: "the left circle", but "the circle left of the star".
_PLACES = frozenset('left right top bottom front back middle center centre'.split())


def tag_words(words: list[str]) -> list[tuple[str, str]]:
    """Tag the lower-cased words of one caption, as ``nltk.pos_tag`` does.

    Args:
        words (list[str]): Words and punctuation marks in reading order.

    Returns:
        list[tuple[str, str]]: ``(word, tag)`` in the same order.
    """
    tags = [tag for _, tag in _tagger().tag(words)]
    for i in reversed(range(len(words))):
        following = tags[i + 1] if i + 1 < len(tags) else ''
        before_noun = following.startswith(('NN', 'JJ', 'VBG', 'VBN'))
        if words[i] in _NOUN_OR_ADJECTIVE:
            tags[i] = 'JJ' if before_noun else 'NN'
        elif words[i] in _PLACES:
            opened = i > 0 and tags[i - 1] in ('DT', 'JJ', 'PRP$')
            tags[i] = 'JJ' if opened and before_noun else 'RB'
    for i in range(1, len(words)):
        # after "a" or "red", a participle describes and a verb is a thing:
        # "a parked car", "the stand"
        if tags[i - 1] in ('DT', 'JJ', 'PRP$'):
            tags[i] = {'VBG': 'JJ', 'VBN': 'JJ', 'VB': 'NN'}.get(tags[i], tags[i])
    return list(zip(words, tags))


@cache
def _tagger():
    import nltk

    def any_of(words):
        return f'(?:{"|".join(map(re.escape, words.split()))})$'

    known = [(any_of(words), tag) for tag, words in _WORDS.items()]
    return nltk.RegexpTagger(
        [(r'\W+$', 'PUNCT')]
        + known
        + [
            (any_of(_NOUNS), 'NN'),
            (r'-?\d+(?:[.,:/]\d+)*(?:st|nd|rd|th)?$', 'CD'),
            (r'\w+ly$', 'RB'),
            (r'\w{2,}ing$', 'VBG'),
            (r'\w{2,}ed$', 'VBN'),
            (r'\w+(?:able|ible|ful|less|ous|ish)$', 'JJ'),
            (r'', 'NN'),
        ]
    )
