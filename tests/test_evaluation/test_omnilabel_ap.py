"""OmniLabel's average precision against cases worked out by hand and a direct computation."""

import json

import numpy as np
import pytest

from fiber_mmdet.evaluation import OmniLabelAP
from fiber_mmdet.inspection.source_check import collected_log
from fiber_mmdet.outputs import OutputError
from made_samples import sample, score, score_in_two_processes, shuffled
from omnilabel_json import write_omnilabel

A, B, C = [10, 10, 60, 60], [100, 100, 160, 160], [20, 200, 80, 260]
TEXTS = {
    4: ('CAR', [1, 2]),
    7: ('a dog without any leash', [1, 2]),
    2: ('red car', [1]),
    9: ('DOG', [1, 2]),
}


def of(image, found, texts=None):
    """A sample; ``found``: (score, description, box)."""
    ids = [4, 7, 2, 9] if texts is None else texts
    return sample(
        [box for *_, box in found],
        [p for p, *_ in found],
        [ids.index(i) for _, i, _ in found],
        img_id=image,
        description_ids=ids,
    )


def compute(file, samples, **kwargs):
    return {
        key.removeprefix('omnilabel/'): value
        for key, value in score(OmniLabelAP(file, **kwargs), samples).items()
    }


def harmonic(a, b):
    return 2 * a * b / (a + b + 1e-5)


def test_a_description_that_fits_nothing_above_one_that_fits(tmp_path):
    """The case of the reference: AP of descriptions 0.5, of those that fit 1."""
    file = write_omnilabel(tmp_path / 'a.json', {1: ('a b', [1]), 2: ('c d', [1])}, [(1, A, [1])])
    found = compute(file, [of(1, [(0.9, 2, B), (0.8, 1, A)], [1, 2])])
    for name in ('AP-descr', 'AP-descr-S', 'AP50-descr', 'AP75-descr'):
        assert found[name] == pytest.approx(0.5)
    assert found['AP-descr-pos'] == pytest.approx(1) and found['AR@100-descr'] == pytest.approx(1)
    rest = {'AP', 'AP-categ', 'AP-descr-M', 'AP-descr-L', 'AP50-categ', 'AP75-categ'}
    assert {name for name, value in found.items() if value == -1} == rest | {'AR@100-categ'}


def test_groups_are_pooled_over_texts_and_images(tmp_path):
    """Categories: hit 0.9, false 0.8, hit 0.7 of 3 boxes; two descriptions: hit 0.6, false 0.5."""
    boxes = [(1, A, [4, 2]), (1, B, [9]), (2, C, [4]), (2, A, [7])]
    file = write_omnilabel(tmp_path / 'a.json', TEXTS, boxes)
    samples = [
        of(1, [(0.9, 4, A), (0.8, 9, C), (0.6, 2, A), (0.5, 7, B)]),
        of(2, [(0.7, 4, C), (0.3, 7, A)]),
    ]
    found = compute(file, samples)
    # precision 1 up to recall 1/3 (34 levels of 101), 2/3 up to 2/3 (33 levels), then 0
    categ = (34 + 33 * 2 / 3) / 101
    # 1 up to recall 1/2 (51 levels), then 2/3
    descr = (51 + 50 * 2 / 3) / 101
    assert found['AP-categ'] == pytest.approx(categ)
    assert found['AP-descr'] == pytest.approx(descr)
    assert found['AP'] == pytest.approx(harmonic(categ, descr))
    assert found['AP-descr-pos'] == pytest.approx(1)  # text 7 fits nothing in image 1
    assert found['AP-descr-S'] == pytest.approx(1)
    assert found['AP-descr-M'] == pytest.approx(0.5)
    assert found['AP-descr-L'] == -1
    assert found['AR@100-categ'] == pytest.approx(2 / 3) and found['AR@100-descr'] == 1


def test_a_text_is_positive_on_the_images_that_it_fits(tmp_path):
    file = write_omnilabel(tmp_path / 'a.json', {3: ('a man', [1, 2])}, [(1, A, [3])])
    found = compute(file, [of(1, [(0.5, 3, A)], [3]), of(2, [(0.9, 3, A)], [3])])
    assert found['AP-descr'] == pytest.approx(0.5) and found['AP-descr-pos'] == pytest.approx(1)


def test_lengths_are_counted_in_words(tmp_path):
    words = {n: ' '.join(['w'] * n) for n in (1, 3, 4, 8, 9, 15)}
    texts = {n: (text, [1]) for n, text in words.items()}
    texts[16] = ('  a  b   c ', [1])
    boxes = [(1, A, [n]) for n in texts]
    file = write_omnilabel(tmp_path / 'a.json', texts, boxes)

    def found(*wanted):
        return compute(file, [of(1, [(0.5, n, A) for n in wanted], list(texts))])

    for wanted, expected in (
        ((1, 3, 16), (1, 0, 0)),
        ((4, 8), (0, 1, 0)),
        ((9, 15), (0, 0, 1)),
    ):
        result = found(*wanted)
        assert [result[f'AP-descr-{size}'] for size in 'SML'] == pytest.approx(expected)


@pytest.mark.parametrize('boxes', [[A], [[0, 0, 5, 5]], [[0, 0, 300, 310]]])
def test_all_sizes_count_and_the_area_of_the_file_does_not(tmp_path, boxes):
    def change(content):
        content['annotations'][0]['area'] = 1e12

    file = write_omnilabel(
        tmp_path / 'a.json', {3: ('a man', [1])}, [(1, boxes[0], [3])], change=change
    )
    assert compute(file, [of(1, [(0.5, 3, boxes[0])], [3])])['AP-descr'] == pytest.approx(1)


def test_crowds_are_neither_found_nor_missed(tmp_path):
    boxes = [(1, A, [3]), (1, B, [3], True), (1, C, [5], True)]
    file = write_omnilabel(tmp_path / 'a.json', {3: ('a man', [1]), 5: ('a dog', [1])}, boxes)
    inside = [110, 110, 150, 150]
    crowded = [(0.9, 3, inside), (0.8, 3, inside), (0.7, 5, C)]
    found = compute(file, [of(1, [*crowded, (0.5, 3, A)], [3, 5])])
    assert found['AP-descr'] == pytest.approx(1) and found['AR@100-descr'] == 1
    assert compute(file, [of(1, crowded, [3, 5])])['AP-descr'] == 0
    # beside the crowd: false
    found = compute(file, [of(1, [(0.9, 3, [200, 10, 250, 60]), (0.5, 3, A)], [3, 5])])
    assert found['AP-descr'] == pytest.approx(0.5)


def test_overlap_thresholds(tmp_path):
    """A box with an IoU of 0.62 is a hit at 3 of the 10 thresholds."""
    file = write_omnilabel(tmp_path / 'a.json', {3: ('a man', [1])}, [(1, A, [3])])
    narrow = [10, 10, 10 + 0.62 * 50, 60]
    found = compute(file, [of(1, [(0.5, 3, narrow)], [3])])
    assert found['AP-descr'] == pytest.approx(0.3) and found['AR@100-descr'] == pytest.approx(0.3)
    assert found['AP50-descr'] == pytest.approx(1) and found['AP75-descr'] == 0


def test_a_hundred_boxes_of_a_pair_are_looked_at(tmp_path):
    file = write_omnilabel(tmp_path / 'a.json', {3: ('a man', [1])}, [(1, A, [3])])
    false = [(0.9, 3, [200 + i, 200, 230 + i, 230]) for i in range(100)]
    assert compute(file, [of(1, [*false, (0.5, 3, A)], [3])])['AP-descr'] == 0
    assert compute(file, [of(1, [*false[1:], (0.5, 3, A)], [3])])['AP-descr'] == pytest.approx(0.01)


def test_a_box_found_twice_is_once_false(tmp_path):
    boxes = [(1, A, [3]), (1, B, [3])]
    file = write_omnilabel(tmp_path / 'a.json', {3: ('a man', [1])}, boxes)
    found = compute(file, [of(1, [(0.9, 3, A), (0.8, 3, A), (0.7, 3, B)], [3])])
    assert found['AP-descr'] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_detections_outside_the_label_space_are_ignored(tmp_path):
    boxes = [(1, A, [2]), (1, B, [4]), (2, C, [2])]  # image 2 is not asked for text 2
    file = write_omnilabel(tmp_path / 'a.json', TEXTS, boxes)
    samples = [
        of(1, [(0.5, 2, A), (0.5, 4, B)]),
        of(2, [(0.9, 2, A), (0.9, 77, C)], [2, 77]),
    ]
    found = compute(file, samples)
    assert found['AP-descr'] == found['AP-categ'] == pytest.approx(1)


def test_images_that_were_not_tested_are_missed(tmp_path):
    file = write_omnilabel(tmp_path / 'a.json', TEXTS, [(1, A, [4]), (2, C, [4])])
    assert compute(file, [of(1, [(0.5, 4, A)])])['AP-categ'] == pytest.approx(51 / 101)


def test_nothing_found_is_zero(tmp_path):
    file = write_omnilabel(tmp_path / 'a.json', TEXTS, [(1, A, [4]), (2, C, [7])])
    found = compute(file, [of(1, []), of(2, [])])
    assert {name: value for name, value in found.items() if value} == {
        'AP-descr-S': -1,
        'AP-descr-L': -1,
    }


# --------------------------------------------------------------- a direct computation
def random_case(seed, levels):
    """Texts, boxes and samples; equal scores if there are few ``levels``."""
    rng = np.random.default_rng(seed)
    vocabulary = ['CAR', 'DOG', 'a man', 'a man in a red hat', ' '.join('abcdefghij')]
    texts = {
        10 + i: (text, sorted(rng.choice(6, 4, replace=False).tolist()))
        for i, text in enumerate(vocabulary * 2)
    }
    boxes, samples = [], []
    for image in range(6):
        asked = [i for i, (_, images) in texts.items() if image in images]
        found = []
        for _ in range(rng.integers(1, 5)):
            x, y, w, h = rng.integers((0, 0, 20, 20), (200, 200, 90, 90))
            corners = [int(v) for v in (x, y, x + w, y + h)]
            ids = rng.choice(asked, min(len(asked), rng.integers(1, 3)), replace=False).tolist()
            boxes.append((image, corners, ids, rng.random() < 0.2))
            for _ in range(rng.integers(0, 3)):
                near = np.asarray(corners) + rng.normal(0, 5, 4)
                near = np.asarray(near, np.float32).tolist()
                found.append((rng.random(), int(rng.choice([*ids, *asked])), near))
        found = [(float(np.ceil(p * levels) / levels), i, box) for p, i, box in found]
        samples.append(of(image, found, asked))
    return texts, boxes, samples


def direct(texts, boxes, samples, kinds, fewest=0, most=99):
    """AP of a group, by its definition."""
    aps = []
    for threshold in np.linspace(0.5, 0.95, 10):
        ranked, total = [], 0
        for image in range(6):
            pred = samples[image]['pred_instances']
            ids = samples[image]['description_ids']
            for number, (text, of_text) in texts.items():
                true = [(b, c) for i, b, those, c in boxes if i == image and number in those]
                kind = 'C' if text.isupper() else 'p' if true else 'n'
                if image not in of_text or kind not in kinds:
                    continue
                if not fewest <= len(text.split()) <= most:
                    continue
                total += sum(not crowd for _, crowd in true)
                ranked += matched(pred, ids, number, true, threshold)
        ranked.sort(key=lambda one: -one[0])
        hits = np.array([hit for _, hit in ranked], bool)
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        recall = hits.cumsum() / total
        levels = [max(precision[recall >= level], default=0) for level in np.linspace(0, 1, 101)]
        aps.append(np.mean(levels))
    return np.mean(aps)


def matched(pred, ids, number, true, threshold):
    """(score, hit) of the detections of a text on an image; those on crowds are left out."""
    found = [
        (p, box)
        for p, label, box in zip(
            pred['scores'].tolist(), pred['labels'].tolist(), pred['bboxes'].double().tolist()
        )
        if ids[label] == number
    ]
    found.sort(key=lambda one: (-one[0], one[1]))
    taken, result = set(), []
    for p, (x1, y1, x2, y2) in found:
        best, best_iou, crowded = None, threshold, False
        for i, ((a1, b1, a2, b2), crowd) in enumerate(true):
            inner = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            own = (x2 - x1) * (y2 - y1)
            iou = inner / (own if crowd else own + (a2 - a1) * (b2 - b1) - inner)
            if crowd:
                crowded |= iou >= threshold
            elif i not in taken and iou >= best_iou:
                best, best_iou = i, iou
        if best is not None:
            taken.add(best)
            result.append((p, True))
        elif not crowded:
            result.append((p, False))
    return result


@pytest.mark.parametrize('seed, levels', [(0, 1e9), (1, 1e9), (2, 3), (3, 1)])
def test_random_cases_agree_with_the_definition(tmp_path, monkeypatch, seed, levels):
    texts, boxes, samples = random_case(seed, levels)
    file = write_omnilabel(tmp_path / 'a.json', texts, boxes)
    found = compute(file, samples)
    if levels > 10:  # among equal scores the direct computation has another order of hits
        case = texts, boxes, samples
        expected = {
            'categ': direct(*case, 'C'),
            'descr': direct(*case, 'pn'),
            'descr-pos': direct(*case, 'p'),
            'descr-S': direct(*case, 'pn', 0, 3),
            'descr-M': direct(*case, 'pn', 4, 8),
            'descr-L': direct(*case, 'pn', 9),
        }
        for name, value in expected.items():
            assert found[f'AP-{name}'] == pytest.approx(value, abs=1e-9), name
        assert found['AP'] == pytest.approx(harmonic(expected['categ'], expected['descr']))
    assert compute(file, shuffled(samples)) == compute(file, shuffled(shuffled(samples))) == found
    merged = score_in_two_processes(monkeypatch, lambda: OmniLabelAP(file), samples)
    assert {f'omnilabel/{name}': value for name, value in found.items()} == merged


# ---------------------------------------------------------------------- files
def test_results_have_the_form_of_the_toolkit(tmp_path):
    file = write_omnilabel(tmp_path / 'a.json', TEXTS, [(1, A, [4])])
    samples = [of(1, [(0.75, 4, A), (0.5, 2, A), (0.25, 9, B)]), of(2, [])]
    found = compute(file, samples, outfile_prefix=str(tmp_path / 'out/test'))
    assert found['AP-categ'] == pytest.approx(1)
    expected = [
        dict(image_id=1, bbox=[10, 10, 50, 50], description_ids=[4, 2], scores=[0.75, 0.5]),
        dict(image_id=1, bbox=[100, 100, 60, 60], description_ids=[9], scores=[0.25]),
    ]
    assert json.loads((tmp_path / 'out/test.omnilabel.json').read_text()) == expected
    with pytest.raises(OutputError, match='is read as well'):
        (tmp_path / 'b.omnilabel.json').symlink_to(file)
        compute(file, samples, outfile_prefix=str(tmp_path / 'b'))


def test_a_test_set_without_boxes_is_only_written(tmp_path):
    def change(content):
        content.pop('annotations')
        for text in content['descriptions']:
            text.pop('anno_info')

    file = write_omnilabel(tmp_path / 'a.json', TEXTS, change=change)
    samples = [of(1, [(0.75, 4, A)]), of(2, []), of(1, [(0.75, 4, A)])]  # one is repeated
    prefix = str(tmp_path / 'test')
    assert compute(file, samples, format_only=True, outfile_prefix=prefix) == {'images': 2}
    assert len(json.loads((tmp_path / 'test.omnilabel.json').read_text())) == 1
    with pytest.raises(ValueError, match='outfile_prefix'):
        OmniLabelAP(file, format_only=True)
    with pytest.raises(ValueError, match="a.json has no list 'annotations'"):
        OmniLabelAP(file)


def test_wrong_samples_are_refused(tmp_path):
    file = write_omnilabel(tmp_path / 'a.json', TEXTS, [(1, A, [4])])
    with pytest.raises(KeyError, match='description_ids.*meta_keys'):
        compute(file, [sample([], [], [], img_id=1)])
    with pytest.raises(ValueError, match='a.json has no image 8'):
        compute(file, [of(8, [])])
    with pytest.raises(ValueError, match='has label 1, but description_ids names 1'):
        compute(file, [sample([A], [0.5], [1], img_id=1, description_ids=[4])])


def test_nothing_to_find_is_said(tmp_path):
    file = write_omnilabel(tmp_path / 'a.json', TEXTS)
    with collected_log() as messages:
        metric = OmniLabelAP(file)
    assert 'nothing is to be found in' in messages[0] and 'a.json' in messages[0]
    assert set(score(metric, [of(1, [(0.5, 4, A)])]).values()) == {-1}
