"""Data samples as metrics receive them, given or random, and functions that score them."""

import json

import numpy as np
import torch

SIDE = 320


def sample(boxes, scores, labels, true=(), true_labels=(), **meta):
    """A sample as a dict: predictions, ground truth and metainfo."""

    def box(x):
        return torch.tensor(np.asarray(x, dtype=np.float32).reshape(-1, 4))

    return dict(
        dict(img_id=0, ori_shape=(SIDE, SIDE)),
        **meta,
        pred_instances=dict(
            bboxes=box(boxes),
            scores=torch.tensor(np.asarray(scores, np.float32)),
            labels=torch.tensor(np.asarray(labels, np.int64)),
        ),
        gt_instances=dict(bboxes=box(true), labels=torch.tensor(np.asarray(true_labels, np.int64))),
    )


def score(metric, samples, batch=1, classes=None):
    """Result of a metric for some samples, by mmengine's evaluation."""
    if classes is not None:
        metric.dataset_meta = dict(classes=classes)
    for start in range(0, len(samples), batch):
        metric.process({}, samples[start : start + batch])
    return metric.evaluate(len(samples))


def shuffled(samples):
    """The same samples and predictions in another order."""
    result = []
    for i, s in enumerate(samples[::-1]):
        order = np.random.default_rng(i).permutation(len(s['pred_instances']['scores']))
        pred = {key: value[order] for key, value in s['pred_instances'].items()}
        result.append(dict(s, pred_instances=pred))
    return result


def score_in_two_processes(monkeypatch, make_metric, samples, classes=None):
    """``score`` with two processes, whose lists mmengine interleaves and cuts to the size."""
    parts = [make_metric(), make_metric()]
    longest = (len(samples) + 1) // 2
    for rank, part in enumerate(parts):
        own = samples[rank::2]
        part.dataset_meta = dict(classes=classes)
        part.process({}, own + samples[: longest - len(own)])  # the sampler repeats to equal length

    def collect(results, size, *args, **kwargs):
        lists = [results, parts[1].results]
        return [r for pair in zip(*lists) for r in pair][:size]

    monkeypatch.setattr('mmengine.evaluator.metric.collect_results', collect)
    return parts[0].evaluate(len(samples))


def write_coco(path, categories, truths):
    """A COCO json: ``categories`` {id: name}, ``truths`` {image: [(category, xyxy, crowd)]}."""
    annotations = []
    for image, boxes in truths.items():
        for category, (x1, y1, x2, y2), crowd in boxes:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=category,
                    iscrowd=crowd,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                )
            )
    path.write_text(
        json.dumps(
            dict(
                images=[dict(id=i, width=SIDE, height=SIDE, file_name=f'{i}.png') for i in truths],
                categories=[dict(id=i, name=name) for i, name in categories.items()],
                annotations=annotations,
            )
        )
    )
    return str(path)


def noisy(rng, truths, labels, label_of, levels=None):
    """Predictions near most of the true boxes, some mislabelled; ``levels`` scores make ties."""
    boxes, found = [], []
    for category, box, _ in truths:
        for _ in range(rng.integers(0, 4)):
            boxes.append(np.asarray(box) + rng.normal(0, (box[2] - box[0]) / 12, 4))
            found.append(label_of[category] if rng.random() < 0.8 else rng.integers(labels))
    scores = rng.random(len(boxes))
    if levels:
        scores = np.ceil(scores * levels) / levels
    return dict(boxes=boxes, scores=scores, labels=found)
