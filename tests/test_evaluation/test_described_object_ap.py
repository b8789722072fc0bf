"""AP of described objects against cases worked out by hand."""

import pytest

from fiber_mmdet.evaluation import DescribedObjectAP
from made_samples import sample, score, score_in_two_processes, shuffled, write_coco

SENTENCES = {
    4: 'red car',
    2: 'a dog without leash',
    9: 'a person who rides a very old bicycle up the street',
}
A, B, C, FAR = [10, 10, 60, 60], [100, 100, 160, 160], [20, 200, 80, 260], [200, 10, 260, 60]
TRUTHS = {1: [(4, A, 0), (2, B, 0)], 2: [(4, C, 0)], 3: [(9, A, 0)]}
SENT_IDS = {1: [4, 2], 2: [4, 2], 3: [9, 4]}  # sentences asked for on each image
# 101 recall levels: precision 1 up to recall 1/2 (51 levels), then 2/3
TWO_OF_THREE = (51 + 50 * 2 / 3) / 101


def samples_of(predictions):
    """``predictions``: {image: [(score, sentence, box)]}; labels index the image's SENT_IDS."""
    return [
        sample(
            [box for *_, box in found],
            [p for p, *_ in found],
            [SENT_IDS[image].index(sentence) for _, sentence, _ in found],
            img_id=image,
            sent_ids=SENT_IDS[image],
        )
        for image, found in predictions.items()
    ]


WORKED = samples_of(
    {
        1: [(0.9, 4, A), (0.9, 2, FAR), (0.5, 2, B)],  # 4: hit; 2: a false box above the true one
        2: [(0.7, 4, C)],
        3: [(0.8, 4, FAR), (0.6, 9, A)],
    }
)  # 4 is asked for here too, and false


@pytest.fixture
def write(tmp_path):
    """Write the annotation file of some sentences, with all images."""

    def write(*sentences):
        return write_coco(
            tmp_path / f'{len(sentences)}.json',
            {i: SENTENCES[i] for i in sentences},
            {image: [t for t in boxes if t[0] in sentences] for image, boxes in TRUTHS.items()},
        )

    return write


def compute(file, samples):
    return {
        key.removeprefix('dod/'): value
        for key, value in score(DescribedObjectAP(file), samples).items()
    }


def test_worked_case(write):
    found = compute(write(4, 2, 9), WORKED)
    mean = (TWO_OF_THREE + 0.5 + 1) / 3
    assert found == {
        **{key: pytest.approx(mean) for key in ('mAP', 'mAP_50', 'mAP_75', 'mAP_m')},
        'mAP_s': -1,
        'mAP_l': -1,
        'mAP_short': pytest.approx(TWO_OF_THREE),
        'mAP_mid': pytest.approx(0.5),
        'mAP_long': -1,
        'mAP_very_long': pytest.approx(1),
    }


def test_presence_and_absence_files_leave_other_sentences_out(write):
    present, absent = compute(write(4, 9), WORKED), compute(write(2), WORKED)
    assert present['mAP'] == pytest.approx((TWO_OF_THREE + 1) / 2) and present['mAP_mid'] == -1
    assert absent['mAP'] == pytest.approx(0.5) and absent['mAP_short'] == -1
    only_other = samples_of({1: [], 2: [(0.7, 4, C)], 3: []})
    assert compute(write(2), only_other)['mAP'] == 0
    elsewhere = [sample([A], [0.9], [0], img_id=77, sent_ids=[4])]  # an image the file lacks
    assert compute(write(2), WORKED + elsewhere) == absent


def test_a_box_on_an_image_without_the_object_is_false_only_if_it_was_predicted(write):
    """The metric ignores groups: the model cannot be wrong about sentences it is not asked."""
    file = write(4)
    asked = samples_of({1: [(0.9, 4, A)], 2: [(0.7, 4, C)], 3: [(0.8, 4, FAR)]})
    not_asked = samples_of({1: [(0.9, 4, A)], 2: [(0.7, 4, C)], 3: []})
    assert compute(file, asked)['mAP'] == pytest.approx(TWO_OF_THREE)
    assert compute(file, not_asked)['mAP'] == pytest.approx(1)


def test_overlap_thresholds(write):
    """A box with an IoU of 0.62 is a hit at 3 of the 10 thresholds."""
    narrow = [10, 10, 10 + 0.62 * 50, 60]
    found = compute(write(4), samples_of({1: [(0.8, 4, narrow)], 2: [(0.9, 4, C)], 3: []}))
    half = 51 / 101  # one of two objects found, and first
    assert found['mAP_50'] == pytest.approx(1) and found['mAP_75'] == pytest.approx(half)
    assert found['mAP'] == pytest.approx((3 + 7 * half) / 10)


def test_perfect_predictions(write):
    perfect = samples_of(
        {image: [(0.5, c, box) for c, box, _ in boxes] for image, boxes in TRUTHS.items()}
    )
    found = compute(write(4, 2, 9), perfect)
    assert {key for key, value in found.items() if value == -1} == {'mAP_s', 'mAP_l', 'mAP_long'}
    assert [value for value in found.values() if value != -1] == pytest.approx([1] * 7)


def test_nothing_found_is_zero(write):
    found = compute(write(4, 2, 9), samples_of({1: [], 2: [], 3: []}))
    assert {key for key, value in found.items() if value == -1} == {'mAP_s', 'mAP_l', 'mAP_long'}
    assert {value for value in found.values() if value != -1} == {0}


def test_order_does_not_matter(write):
    file = write(4, 2, 9)
    tied = samples_of(
        {
            1: [(0.5, 4, A), (0.5, 4, FAR), (0.5, 2, FAR), (0.5, 2, B)],
            2: [(0.5, 4, C), (0.5, 4, A)],
            3: [(0.5, 4, FAR), (0.5, 9, A)],
        }
    )
    for samples in (WORKED, tied):
        expected = compute(file, samples)
        assert (
            compute(file, shuffled(samples))
            == compute(file, shuffled(shuffled(samples)))
            == expected
        )


def test_results_of_two_processes_are_merged(monkeypatch, write):
    file = write(4, 2, 9)
    expected = score(DescribedObjectAP(file), WORKED)
    assert score_in_two_processes(monkeypatch, lambda: DescribedObjectAP(file), WORKED) == expected


def test_wrong_samples_are_refused(write):
    with pytest.raises(KeyError, match='sent_ids.*meta_keys'):
        compute(write(4), [sample([], [], [], img_id=1)])
    with pytest.raises(ValueError, match='1.json has no image 8'):
        compute(write(4), [sample([A], [0.5], [0], img_id=8, sent_ids=[4])])
