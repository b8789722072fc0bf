"""Data samples as metrics get them, made by hand or by chance, and what runs metrics on them."""

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
    """What a metric says of samples, through mmengine's evaluation."""
    if classes is not None:
        metric.dataset_meta = dict(classes=classes)
    for start in range(0, len(samples), batch):
        metric.process({}, samples[start : start + batch])
    return metric.evaluate(len(samples))


def shuffled(samples):
    """The same samples in another order, and so their predictions."""
    result = []
    for i, s in enumerate(samples[::-1]):
        order = np.random.default_rng(i).permutation(len(s['pred_instances']['scores']))
        pred = {key: value[order] for key, value in s['pred_instances'].items()}
        result.append(dict(s, pred_instances=pred))
    return result


def score_in_two_processes(monkeypatch, make_metric, samples, classes=None):
    """As ``score`` with two processes: mmengine interleaves their lists and cuts the padding."""
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
