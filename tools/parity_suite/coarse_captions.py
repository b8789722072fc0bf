"""Captions of the image-text model: states, losses of the three objectives, generated texts."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.image_text.caption_decoder import IncrementalDecoder
from fiber_mmdet.models.image_text.captioner import Captioner
from fiber_mmdet.models.image_text.decoding import SpecialTokens, beam_search, greedy, most_likely
from fiber_mmdet.models.image_text.heads import CiderLoss, GoldLoss, MLELoss
from fiber_mmdet.models.image_text.heads.caption_gold import gold_weights, suffix_means
from fiber_mmdet.text.cider_d import CiderD

from .coarse_inputs import CoarseInputs
from .fixture import ParityError

GOLD = {'gold': 0.1, 'gold_min0': 0.0, 'gold_sharp': 0.1}  # smallest weight of a token
MARGIN = '/min_margin_per_step'
FOREIGN = 4  # position of the word that gold_sharp takes from the batch's texts
TOY_WORDS, TOY_FACTOR = 20, 40


@dataclass(frozen=True)
class Generation:
    """Settings with which the fixture's texts were generated.

    Attributes:
        special: token ids.
        start: id of ``<s>``.
        beam_size: beams per image.
        max_tokens: longest text, including ``<s>``.
    """

    special: SpecialTokens
    start: int
    beam_size: int
    max_tokens: int

    @classmethod
    def read(cls, inputs: CoarseInputs) -> 'Generation':
        """The settings, parsed from the prose of ``meta.beam``.

        Raises:
            ParityError: one of them is missing.
        """
        text = inputs.meta('beam')
        numbers = [
            re.search(rf'\b{word} (\d+)', text)
            for word in ('sep', 'pad', 'mask', 'cls', 'beam', 'max_text_len')
        ]
        if None in numbers:
            raise ParityError(f'{inputs.fixture.path}: cannot read meta.beam, {text!r}')
        end, pad, masked, start, beams, length = (int(number[1]) for number in numbers)
        return cls(SpecialTokens(end, pad, masked), start, beams, length)

    def padded(self, texts: Tensor, length: int) -> Tensor:
        """Texts (N, L) padded to a length."""
        return F.pad(texts, (0, length - texts.shape[1]), value=self.special.pad)

    def search(self, step: Callable, images: int, special: SpecialTokens | None = None) -> Tensor:
        """The best beam of each image as the reference records it: without its end, padded."""
        first = torch.full((images,), self.start)
        texts = beam_search(
            step, first, special or self.special, self.beam_size, self.max_tokens - 1, legacy=True
        )
        ends = (texts == self.special.end) | (texts == self.start)
        return self.padded(texts.masked_fill(ends, self.special.pad), self.max_tokens - 1)


def states(model: nn.Module, batch: EncodedBatch) -> dict[str, Tensor]:
    """Text states, image tokens, logits and loss of the batch's captions."""
    captioner, (ids, mask) = model.heads.caption.captioner(model), batch.tokens
    encoded = captioner.encode(batch.image())
    features = captioner.decoder.features(encoded, ids, mask)
    words = model.words
    return {
        'caption/text_feats': features,
        'caption/image_embeds': encoded.tokens,
        'caption/logits': words(features),
        'caption/text_feats_nomask': captioner.decoder.features(encoded, ids),
        'caption/mle_loss': MLELoss().loss(captioner, batch)['loss'],
        'div_head/mu': words.norm(F.gelu(words.dense(features))).mean((0, 1)),
    }


@contextmanager
def sharper_words(inputs: CoarseInputs, model: nn.Module, prefix: str, case: str) -> Iterator[None]:
    """The LM head of ``meta.div_head`` for a case, if it is used there.

    Its weights are multiplied; the bias subtracts what all contexts have in common
    (the recorded ``div_head/mu``) and favours the end by ``eos``.
    """
    text = inputs.fixture.note('div_head', prefix, '')
    used = re.search(rf'\b{case} \(eos ([\d.]+)\)', text)
    if not used:
        yield
        return
    words, factor = model.words, float(re.search(r"W' = ([\d.]+)\*", text)[1])
    weight, bias = words.decoder.weight.data, words.bias.data
    common = torch.from_numpy(inputs.fixture[f'{prefix}div_head/mu'])
    try:
        words.decoder.weight.data = factor * weight
        words.bias.data = bias - words.decoder.weight.data @ common
        words.bias.data[Generation.read(inputs).special.end] += float(used[1])
        yield
    finally:
        words.decoder.weight.data, words.bias.data = weight, bias


# ---------------------------------------------------------- generation
def incremental(inputs: CoarseInputs, model: nn.Module) -> IncrementalDecoder:
    """The decoder of captions of the fixture's images, at its first step."""
    decoder = model.heads.caption.captioner(model).decoder
    return IncrementalDecoder(decoder, decoder.encode(model.encode_image(inputs.views['image'])))


def beams(inputs: CoarseInputs, model: nn.Module, prefix: str, case: str) -> dict[str, Tensor]:
    """Texts of the beam search, and how close its decisions were."""
    generation = Generation.read(inputs)
    with ranked(generation.beam_size + 1) as margins:
        ids = generation.search(incremental(inputs, model), inputs.batch)
    return {f'{case}/ids': ids, case + MARGIN: torch.stack(margins)}


@contextmanager
def ranked(count: int) -> Iterator[list[Tensor]]:
    """Smallest gap between the ``count`` best of each ranking over all beams of an image."""
    gaps, topk = [], Tensor.topk

    def observed(x: Tensor, *args, **kwargs):
        if x.dim() == 2:
            best = topk(x, min(count, x.shape[1])).values
            gaps.append((best[:, :-1] - best[:, 1:]).min())
        return topk(x, *args, **kwargs)

    with mock.patch.object(Tensor, 'topk', observed):
        yield gaps


class ToyModel:
    """Logits that are a function of image and text so far, from the generator."""

    def __init__(self, inputs: CoarseInputs, images: int) -> None:
        self.inputs, self.images = inputs, images
        self.texts: list[list[int]] = []

    def __call__(self, tokens: Tensor, rows: Tensor | None) -> Tensor:
        before = (
            [[]] * len(tokens)
            if not self.texts
            else [self.texts[row] for row in (range(len(tokens)) if rows is None else rows)]
        )
        self.texts = [[*text, token] for text, token in zip(before, tokens.tolist())]
        beams = len(tokens) // self.images
        return TOY_FACTOR * torch.stack(
            [
                self.inputs.tensor(f'beam/{i // beams}/{"-".join(map(str, text))}', (TOY_WORDS,))
                for i, text in enumerate(self.texts)
            ]
        )


def toy_beams(inputs: CoarseInputs) -> dict[str, Tensor]:
    """Beam search over a model without weights."""
    generation = Generation.read(inputs)
    images = len(inputs.fixture['beam_toy/ids'])
    special = SpecialTokens(generation.special.end, generation.special.pad, TOY_WORDS - 1)
    return {'beam_toy/ids': generation.search(ToyModel(inputs, images), images, special)}


# -------------------------------------------------- GOLD and CIDEr losses
def greedy_texts(inputs: CoarseInputs, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Ids and mask of the most likely words, except for one word of the batch's texts.

    They are as long as the batch's texts.
    """
    generation, (ids, mask) = Generation.read(inputs), inputs.tokens
    step = incremental(inputs, model)
    written = greedy(step, ids[:, 0], generation.special, ids.shape[1] - 1)
    texts = torch.cat([ids[:, :1], generation.padded(written, ids.shape[1] - 1)], 1)
    given = ~mask | (ids == generation.special.end)
    given[:, FOREIGN] = True
    return torch.where(given, ids, texts), mask


def gold(inputs: CoarseInputs, model: nn.Module, prefix: str, case: str) -> dict[str, Tensor]:
    """Weights and losses where the copy has the weights of the model.

    The objective alone is in training mode: there is no dropout.
    """
    captioner, found = model.heads.caption.captioner(model), {}
    batch = inputs.pairs(model)
    if f'{prefix}{case}/text_ids' in inputs.fixture:
        batch.tokens = greedy_texts(inputs, model)
        found = dict(zip(('text_ids', 'text_masks'), batch.tokens))
    objective = GoldLoss(min_weight=GOLD[case], legacy_denominator=True)
    objective.copy = lambda decoder: decoder
    probs = objective.probabilities(captioner, batch)
    mask = probs > 0
    found.update(
        train_loss=objective.train().loss(captioner, batch)['loss'],
        off_probs=probs,
        cum_prob=suffix_means(probs, mask),
        weights=gold_weights(probs, mask, GOLD[case]),
        eval_loss=objective.eval().loss(captioner, batch)['loss'],
    )
    return {f'{case}/{name}': value for name, value in found.items()}


class SpelledCaptioner(Captioner):
    """A captioner that writes ids out as words."""

    def texts(self, tokens: Tensor) -> list[str]:
        hidden = (self.start, self.special.end, self.special.pad)
        return [
            ' '.join(f'w{token}' for token in row if token not in hidden) for row in tokens.tolist()
        ]


def cider(inputs: CoarseInputs, model: nn.Module, prefix: str, case: str) -> dict[str, Tensor]:
    """Samples, their scores and log-probabilities, and the losses.

    The most likely words are drawn; ids are written out as words. The objective alone is
    in training mode.
    """
    generation = Generation.read(inputs)
    described = inputs.meta('arrays')[f'{prefix}cider']
    objective = CiderLoss(df_file='', samples=generation.beam_size, baseline=1.0, legacy=True)
    objective.cider = CiderD(
        {tuple(words.split()): count for words, count in described['document_frequency'].items()},
        described['ref_len_count'],
    )
    seen = {}

    def recorded(name: str, function: Callable) -> Callable:
        def run(*args, **kwargs):
            seen[name] = function(*args, **kwargs)
            return seen[name]

        return run

    objective.draw = recorded('texts', partial(objective.draw, draw=most_likely))
    objective.rewards = recorded('rewards', objective.rewards)
    objective.log_probs = recorded('log_probs', objective.log_probs)
    adapters = model.heads.caption.adapters
    captioner = SpelledCaptioner(model, adapters, generation.max_tokens - 1)
    captioner.start, captioner.special = generation.start, generation.special
    losses = objective.loss(captioner, inputs.pairs(model, captions=described['gt_txt']))
    ids = F.pad(seen['texts'], (1, 0), value=generation.start)
    return {
        'cider/sampled_ids': generation.padded(ids, generation.max_tokens),
        'cider/rl_probs': seen['log_probs'],
        'cider/scores': seen['rewards'].flatten(),
        'cider/caption_loss': losses['mle'],
        'cider/rl_loss': losses['policy'],
        'cider/loss': losses['loss'],
    }
