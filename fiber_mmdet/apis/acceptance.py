"""Whether weights are what they claim to be: their keys, and photos whose answers are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import DATASETS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from tqdm import tqdm

from fiber_mmdet.checkpoints.account import Conversion, ConversionError
from fiber_mmdet.checkpoints.fitting import fit
from fiber_mmdet.checkpoints.names import has_query_norm, is_image_text
from fiber_mmdet.checkpoints.published_layout import detect_layout
from fiber_mmdet.checkpoints.reading import official_weights, our_weights
from fiber_mmdet.convert import import_weights, skeleton
from fiber_mmdet.evaluation.offline import build_evaluator
from fiber_mmdet.weights.catalogue import find_known, known_weights, shipped_config
from fiber_mmdet.weights.fetch import sha256_of
from fiber_mmdet.weights.store import stored_source

from .inferencer import FIBERInferencer
from .inputs import read_image
from .results import GroundingResult

# FIBER-B has 49.3 % on COCO val2017 without having seen it; weights in a wrong layout have about 0
LEAST_AP = 0.4

# tools/pics/1.png of DesCo's repository: a train beside a platform
TRAIN_SIZE = (812, 984)
TRAIN_CAPTION = 'a train besides sidewalk'
TRAIN_SPANS = [[[2, 7]], [[16, 24]]]
TRAIN_BOX = (248.0, 217.0, 812.0, 885.0)  # by eye
LEAST_SCORE = 0.5
LEAST_OVERLAP = 0.8

COCO = 'coco/fiber_swin-b_16xb2-24e_coco.py'
IMAGE_TEXT = 'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py'
# the config that is taken for weights of a kind: (of an image-text model, with the query norm)
KINDS = {
    (False, False): COCO,
    (False, True): 'coco/fiber_swin-b_i2t-norm_16xb2-24e_coco.py',
    (True, True): IMAGE_TEXT,
    (True, False): IMAGE_TEXT,
}


@dataclass(frozen=True)
class Verdict:
    """One item of an acceptance.

    Attributes:
        item: what was looked at.
        passed: whether it is as it should be; None if it could not be looked at.
        detail: what was found.
    """

    item: str
    passed: bool | None
    detail: str

    def __str__(self) -> str:
        mark = {True: 'pass', False: 'FAIL', None: 'skip'}[self.passed]
        return f'{mark}  {self.item}: {self.detail}'


def config_for(checkpoint: Mapping) -> Path:
    """The config of the FIBER-B that a checkpoint seems to be of, by its keys.

    Args:
        checkpoint: what was read.

    Raises:
        ConversionError: it is of no FIBER model.
    """
    ours = our_weights(checkpoint)
    if any(key.startswith('backbone.image.') for key in ours):
        kind = is_image_text(ours), has_query_norm(ours)
    else:
        layout, norm = detect_layout(official_weights(checkpoint))
        kind = layout == 'coarse', norm
    return shipped_config(KINDS[kind])


def check_file(path: Path, name: str | None = None) -> Verdict:
    """Whether a file is one whose checksum is known.

    Args:
        path: the file.
        name: of known weights, if it was converted from theirs; the checksum was compared then.
    """
    item = 'file'
    if name is not None:
        source = stored_source(name)
        if source is None:
            return Verdict(item, None, 'part of this package')
        if not source.known:
            return Verdict(item, False, f'not the file that is known as {name}, used anyway')
        if find_known(name).sha256 is None:
            return Verdict(item, None, f'no checksum of {name} is known; sha256 {source.sha256}')
        return Verdict(item, True, f'{name}, sha256 {source.sha256}')
    size = path.stat().st_size
    alike = [known for known in known_weights().values() if known.size == size and known.sha256]
    if not alike:
        return Verdict(item, None, 'not of the size of any whose checksum is known')
    found = sha256_of(path)
    for known in alike:
        if known.sha256 == found:
            return Verdict(item, True, f'{known.name}, sha256 {found}')
    return Verdict(item, False, f'of the size of {alike[0].name}, but with sha256 {found}')


def check_keys(checkpoint: Mapping, config: Config) -> Verdict:
    """Whether every key of a checkpoint, and every weight of the model, is accounted for.

    Args:
        checkpoint: an official one or one of ours.
        config: of the model.
    """
    item = 'keys'
    model = skeleton(config.model)
    weights = our_weights(checkpoint)
    if any(key.startswith('backbone.image.') for key in weights):
        found = fit(Conversion(weights), model.state_dict())
        problems = found.difference()
        return Verdict(item, not problems, problems or f'all {len(found.state)} weights fit')
    try:
        found, meta = import_weights(official_weights(checkpoint), model)
    except ConversionError as error:
        lines = str(error).splitlines()
        shown = '; '.join(line.strip() for line in lines[1:4])
        return Verdict(item, False, f'{lines[0]} {shown}'.strip())
    return Verdict(
        item,
        True,
        f'{meta["layout"]}-grained, {"with" if meta["i2t_norm"] else "without"} query norm: '
        f'{len(found.renamed)} filled, {len(found.reasons)} set aside with a reason, none unknown, '
        'none missing',
    )


def check_photos(find: FIBERInferencer, folder: str | Path, most: int | None = None) -> Verdict:
    """Detection on photos in COCO's layout, all names in one prompt, or as the config chunks them.

    Args:
        find: the detector.
        folder: with ``annotations/instances_NAME.json`` and photos in ``NAME/``.
        most: photos to look at; None for all.

    Returns:
        Passed if AP is above ``LEAST_AP``.

    Raises:
        FileNotFoundError: no such files.
    """
    annotations, photos = coco_files(Path(folder).expanduser())
    config = Config.fromfile(shipped_config(COCO))
    init_default_scope('mmdet')
    settings = dict(
        data_root='', ann_file=str(annotations), data_prefix=dict(img=f'{photos}/'), indices=most
    )
    data = DATASETS.build({**config.test_dataloader.dataset, **settings})
    evaluator = build_evaluator({**config.test_evaluator, 'ann_file': str(annotations)})
    evaluator.dataset_meta = data.metainfo
    with torch.no_grad(), find.autocast():
        for i in tqdm(range(len(data)), unit='photo', disable=None):
            batch = pseudo_collate([data[i]])
            evaluator.process(find.model.test_step(batch), batch)
    ap = evaluator.evaluate(len(data))['coco/bbox_mAP']
    return Verdict(
        'photos',
        ap > LEAST_AP,
        f'AP {ap:.3f} on {len(data)} photos and {len(data.metainfo["classes"])} names of '
        f'{annotations} (needed: above {LEAST_AP})',
    )


def coco_files(folder: Path) -> tuple[Path, Path]:
    """The boxes and photos of a folder in COCO's layout, those of val2017 first.

    Raises:
        FileNotFoundError: there are none.
    """
    files = sorted((folder / 'annotations').glob('instances_*.json'))
    for annotations in sorted(files, key=lambda file: 'val' not in file.stem):
        photos = folder / annotations.stem.removeprefix('instances_')
        if photos.is_dir():
            return annotations, photos
    raise FileNotFoundError(
        f'{folder} is no folder in the layout of COCO: it needs annotations/instances_NAME.json '
        'and the photos in NAME/, such as val2017'
    )


def check_train(find: FIBERInferencer, photo: str | Path) -> Verdict:
    """The picture of a train in DesCo's repository (``tools/pics/1.png``).

    Args:
        find: the detector.
        photo: a copy of the picture.

    Returns:
        Passed if the best train has a score above ``LEAST_SCORE`` and an IoU above
        ``LEAST_OVERLAP`` with the train as seen by eye.

    Raises:
        FileNotFoundError, ImageError: it cannot be read.
    """
    height, width = read_image(photo).shape[:2]
    if (width, height) != TRAIN_SIZE:
        return Verdict(
            'train',
            None,
            f'{photo} has {width} x {height} pixels, the picture {" x ".join(map(str, TRAIN_SIZE))}'
            ": take tools/pics/1.png of DesCo's repository",
        )
    found = find(photo, TRAIN_CAPTION, score_thr=0.0, tokens_positive=TRAIN_SPANS)
    assert isinstance(found, GroundingResult)
    trains = found.labels == 0
    if not trains.any():
        return Verdict('train', False, 'no box for the train')
    score = float(found.scores[trains][0])
    box = torch.from_numpy(found.boxes[trains][:1]).float()
    overlap = float(bbox_overlaps(box, torch.tensor([TRAIN_BOX])))
    return Verdict(
        'train',
        score > LEAST_SCORE and overlap > LEAST_OVERLAP,
        f'score {score:.2f} (needed: above {LEAST_SCORE}), IoU {overlap:.2f} (needed: above '
        f'{LEAST_OVERLAP})',
    )
