"""Beam search and sampling on models without a network: tables of next-token probabilities."""

import itertools
import sys

import numpy as np
import pytest
import torch

from fiber_mmdet.models.image_text.decoding import (
    SpecialTokens,
    beam_search,
    greedy,
    nucleus,
    sample,
)

START, PAD, END = 0, 1, 2
SPECIAL = SpecialTokens(end=END, pad=PAD)


class Prefixes:
    """A step function that keeps each sequence and asks ``logits(image, prefix)``."""

    def __init__(self, logits, images):
        self.logits, self.texts = logits, [(n, ()) for n in range(images)]
        self.calls = []

    def __call__(self, tokens, rows=None):
        rows = range(len(tokens)) if rows is None else rows.tolist()
        self.texts = [
            (self.texts[row][0], self.texts[row][1] + (token,))
            for row, token in zip(rows, tokens.tolist())
        ]
        self.calls.append(len(tokens))
        return torch.stack([self.logits(*text) for text in self.texts])


def first(images):
    return torch.full((images,), START)


def random_logits(vocabulary, seed=0, spread=2.0):
    """Logits that depend on the image and the prefix alone."""

    def logits(image, prefix):
        rng = np.random.default_rng([seed, image, *prefix])
        return torch.from_numpy(rng.normal(scale=spread, size=vocabulary))

    return logits


def search(logits, images=1, special=SPECIAL, **kwargs):
    return beam_search(Prefixes(logits, images), first(images), special, **kwargs)


def endings(text):
    """Tokens up to the first end, which is replaced by END."""
    for i, token in enumerate(text):
        if token in (END, PAD):
            return [*text[:i], END]
    return list(text)


def mean_log_prob(logits, image, text):
    total = sum(
        float(logits(image, (START, *text[:i])).log_softmax(-1)[token])
        for i, token in enumerate(text)
    )
    return total / len(text)


@pytest.mark.parametrize('seed', range(6))
def test_a_wide_beam_is_exhaustive(seed):
    vocabulary, longest = 4, 4
    logits = random_logits(vocabulary, seed)
    every = {
        tuple(text[: i + 1])
        for text in itertools.product(range(vocabulary), repeat=longest)
        for i in range(longest)
        if (i + 1 == longest or text[i] in (END, PAD))
        and not any(token in (END, PAD) for token in text[:i])
    }
    best = max(every, key=lambda text: mean_log_prob(logits, 0, text))
    found = search(logits, beam_size=len(every), max_new_tokens=longest)[0].tolist()
    assert found[: len(best)] == list(best)
    assert set(found[len(best) :]) <= {PAD}


def test_a_beam_of_one_is_greedy():
    logits = random_logits(9, 3)
    wide = search(logits, images=5, beam_size=1, max_new_tokens=7)
    assert torch.equal(wide, greedy(Prefixes(logits, 5), first(5), SPECIAL, 7))


def test_a_wider_beam_finds_better_texts():
    logits = random_logits(9, 5)
    means = []
    for beam_size in (1, 20):
        texts = search(logits, images=30, beam_size=beam_size, max_new_tokens=5)
        means.append(
            np.mean(
                [mean_log_prob(logits, n, endings(text)) for n, text in enumerate(texts.tolist())]
            )
        )
    assert means[1] > means[0] + 0.02


def table(probabilities):
    """Logits from ``prefix -> {token: probability}``; the other words have hardly any."""

    def logits(image, prefix):
        probs = torch.full((6,), 1e-6, dtype=torch.float64)
        for token, probability in probabilities.get(prefix[1:], {END: 1.0}).items():
            probs[token] = probability
        return (probs / probs.sum()).log()

    return logits


# An immediate end has probability 0.5; 3 4 5 has 0.45 in its first step, then almost 1.
FIRST_OR_BEST = table({(): {END: 0.5, 3: 0.45}, (3,): {4: 1.0}, (3, 4): {5: 1.0}})


def test_a_finished_beam_leaves_room_for_the_others():
    """The reference fills all beams with the first end and never sees the better text."""
    assert search(FIRST_OR_BEST, beam_size=3, max_new_tokens=6)[0].tolist()[:4] == [3, 4, 5, END]
    legacy = search(FIRST_OR_BEST, beam_size=3, max_new_tokens=6, legacy=True)[0].tolist()
    assert set(legacy) <= {END, PAD}


def test_images_of_a_batch_are_independent():
    logits = random_logits(9, 1)
    together = search(logits, images=8, beam_size=3, max_new_tokens=6)
    for n in range(8):
        alone = search(lambda _, prefix, n=n: logits(n, prefix), beam_size=3, max_new_tokens=6)[0]
        assert endings(alone.tolist()) == endings(together[n].tolist())


def test_first_step_has_one_sequence_per_image_later_ones_all_beams():
    step = Prefixes(random_logits(9), 3)
    beam_search(step, first(3), SPECIAL, beam_size=4, max_new_tokens=3)
    assert step.calls == [3, 12, 12]


def test_search_stops_when_all_beams_are_finished():
    step = Prefixes(lambda *_: torch.tensor([0.0, 0, 50, 0, 0]), 2)
    texts = beam_search(step, first(2), SPECIAL, beam_size=1, max_new_tokens=9)
    assert texts.tolist() == [[END], [END]] and step.calls == [2]


def test_the_mask_token_is_never_generated():
    special = SpecialTokens(END, PAD, mask=4)

    def logits(image, prefix):
        return torch.tensor([0.0, 0, 1 if len(prefix) > 3 else -5, 2, 99])

    for texts in (
        search(logits, special=special, beam_size=2, max_new_tokens=6),
        greedy(Prefixes(logits, 1), first(1), special, 6),
        sample(Prefixes(logits, 1), first(1), special, 6, samples=50),
    ):
        assert 4 not in texts.tolist()[0]


def test_reference_beams(shared_dir):
    """32 texts of the reference's search, token by token."""
    sys.path.insert(0, str(shared_dir / 'parity'))
    try:
        from weights import tensor
    finally:
        sys.path.pop(0)
    expected = np.load(shared_dir / 'parity/coarse_grained.npz')['beam_toy/ids']

    def logits(image, prefix):
        name = f'beam/{image}/{"-".join(map(str, prefix))}'
        return 40 * torch.from_numpy(tensor(name, (20,), 0))

    found = search(
        logits,
        images=32,
        special=SpecialTokens(END, PAD, mask=19),
        beam_size=5,
        max_new_tokens=11,
        legacy=True,
    )
    found[(found == END) | (found == START)] = PAD  # as in the fixture
    assert found.tolist() == expected.tolist()


# ------------------------------------------------------------------- sampling
def test_samples_follow_the_probabilities():
    torch.manual_seed(0)
    probs = torch.tensor([0.0, 0.0, 0.2, 0.5, 0.3])
    step = Prefixes(lambda image, prefix: probs.log(), 1)
    texts = sample(step, first(1), SPECIAL, 2, samples=4000)
    share = torch.bincount(texts[:, 0], minlength=5) / 4000
    assert torch.allclose(share, probs, atol=0.03)
    assert step.calls == [1, 4000]
    later = torch.bincount(texts[texts[:, 0] == 3, 1], minlength=5) / (texts[:, 0] == 3).sum()
    assert torch.allclose(later, probs, atol=0.05)
    assert set(texts[texts[:, 0] == END, 1].tolist()) == {PAD}


def test_samples_of_an_image_are_consecutive():
    def logits(image, prefix):
        return torch.full((12,), -99.0).index_fill(0, torch.tensor(3 + image), 9.0)

    texts = sample(Prefixes(logits, 3), first(3), SPECIAL, 2, samples=2)
    assert texts[:, 0].tolist() == [3, 3, 4, 4, 5, 5]
    assert texts[:, 1].tolist() == texts[:, 0].tolist()


def test_temperature_sharpens():
    torch.manual_seed(0)
    logits = torch.tensor([-99.0, -99, -99, 1, 0])
    cold = sample(Prefixes(lambda *_: logits, 1), first(1), SPECIAL, 1, 2000, temperature=0.25)
    assert (cold == 3).float().mean() == pytest.approx(1 / (1 + np.exp(-4)), abs=0.02)


@pytest.mark.parametrize(
    'top_p,kept', [(0.3, [1]), (0.5, [1]), (0.6, [1, 3]), (0.81, [0, 1, 3]), (1.0, [0, 1, 2, 3])]
)
def test_nucleus_is_the_smallest_set(top_p, kept):
    probs = torch.tensor([[0.15, 0.5, 0.05, 0.3]])
    found = nucleus(probs, top_p)
    assert found[0].nonzero()[:, 0].tolist() == kept
    assert torch.equal(found[0, kept], probs[0, kept])


@pytest.mark.parametrize(
    'wrong',
    [
        dict(samples=0),
        dict(temperature=0.0),
        dict(top_p=0.0),
        dict(top_p=1.5),
        dict(max_new_tokens=0),
    ],
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match='must be'):
        sample(Prefixes(random_logits(5), 1), first(1), SPECIAL, **wrong)


def test_wrong_beams():
    with pytest.raises(ValueError, match='beam_size=0'):
        search(random_logits(5), beam_size=0)
    with pytest.raises(ValueError, match='as many words as beams, 6'):
        search(random_logits(5), beam_size=6, legacy=True)
