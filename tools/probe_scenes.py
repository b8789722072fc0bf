#!/usr/bin/env python3
"""Linear probes of an image tower on generated scenes: what each of its stages knows of objects.

    python tools/probe_scenes.py CONFIG WEIGHTS
    python tools/probe_scenes.py CONFIG random

After the patch embedding and after each stage, linear classifiers read an object's colour, shape,
size and place from the features of the cell that holds its centre, and which colours and shapes
there are from the mean of the map. They are fitted to scenes of the split `train` and scored on
those of `val`, some of whose combinations of colour and shape do not occur in `train`. CONFIG is
that of an image-text model (FIBERForVL). WEIGHTS, or `random`, have its image tower; whatever else
they have is not read.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from command_line import fail, path_argument, quiet_imports, run_tool, weights_argument
from fiber_scenes import COLORS, SHAPES, SIZES, Scene, SceneObject, draw, sample_scene
from fiber_scenes.places import PLACES, third
from tool_parser import ToolParser

# What objects are asked for: the classes, and that of an object.
OF_OBJECTS: dict[str, tuple[Sequence[str], Callable[[Scene, SceneObject], str]]] = {
    'colour': (tuple(COLORS), lambda scene, item: item.color),
    'shape': (tuple(SHAPES), lambda scene, item: item.shape),
    'size': (tuple(SIZES), lambda scene, item: item.size),
    'place': (PLACES, third),
}
OF_SCENES: dict[str, str] = {'colours present': 'colour', 'shapes present': 'shape'}
BATCH = 16


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config of an image-text model')
    parser.add_argument('weights', type=weights_argument, help='a checkpoint, or `random`')
    for split, number in (('train', 300), ('val', 200)):
        parser.add_argument(
            f'--{split}',
            type=int,
            default=number,
            metavar='N',
            help='scenes',
        )
    parser.add_argument('--seed', type=int, default=0, help='of scenes and random weights')
    parser.add_argument('--device', help='default: the GPU if there is one')
    parser.add_argument('--json', type=path_argument, metavar='FILE', help='also write the figures')
    args = parser.parse_args()
    if min(args.train, args.val) < 1:
        parser.error('--train and --val must be at least 1')
    return args


def make_tower(args: argparse.Namespace) -> Callable[[Sequence[Scene]], dict[str, object]]:
    """A function from scenes to the maps of the model's stages, (B, H, W, C) each.

    Raises:
        OSError, ValueError: config and weights do not make an image-text model, or its images are
            cropped or padded.
    """
    import torch

    from fiber_mmdet.apis.image_text_loading import ViewReader, views_step
    from fiber_mmdet.apis.loading import RANDOM, LoadingError, fill_part, load_model
    from fiber_mmdet.datasets.dataset_tree import type_name
    from fiber_mmdet.models import FIBERForVL
    from fiber_mmdet.weights.catalogue import IMAGE_TEXT

    torch.manual_seed(args.seed)
    otherwise = 'scenes are shown to image-text models only'
    model, config, _ = load_model(
        FIBERForVL, args.config, RANDOM, args.device, None, otherwise, IMAGE_TEXT
    )
    tower, device = model.backbone.image, next(model.parameters()).device
    tower.init_weights()  # as a training from nothing begins
    if str(args.weights) != RANDOM:
        fill_part(
            model,
            args.weights,
            lambda key: key.startswith('backbone.image.') and '.text_attention.' not in key,
            f'the image tower of {args.config}',
        )
    for step in views_step(config)['transforms']:
        if type_name(step) not in ('LoadImageFromFile', 'Resize'):
            raise LoadingError(
                f'{type_name(step)} of the EachView in {args.config} may move or change what is in '
                'an image: give a config whose test dataset only has LoadImageFromFile and Resize'
            )
    read, cell = ViewReader(config), tower.patch_embed.patch * 2 ** (len(tower.stages) - 1)

    @torch.no_grad()
    def maps(scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
        views = [read(draw(scene)).to(device) for scene in scenes]
        height, width = views[0].shape[-2:]
        if height % cell or width % cell:
            raise LoadingError(
                f'{args.config} makes images of {width} x {height} pixels, which the cells of the '
                f'last map, {cell} wide, do not fill: give Resize a multiple of {cell}'
            )
        found = tower.stage_maps(model.data_preprocessor(dict(inputs=dict(x=views)))['inputs']['x'])
        return {
            'patch embedding' if not stage else f'stage {stage}': x.float().cpu()
            for stage, x in enumerate(found)
        }

    return maps


def look(maps_of: Callable, scenes: Sequence[Scene]) -> tuple[dict, dict, dict]:
    """For each stage the (N, C) features of objects and of scenes, and its shape (H, W, C)."""
    import torch
    from tqdm import tqdm

    cells: dict[str, list] = {}
    means: dict[str, list] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for begin in tqdm(range(0, len(scenes), BATCH), f'{len(scenes)} scenes', leave=False):
        batch = scenes[begin : begin + BATCH]
        for stage, found in maps_of(batch).items():
            shapes[stage] = tuple(found.shape[1:])
            means.setdefault(stage, []).extend(found.mean((1, 2)))
            for scene, one in zip(batch, found):
                for item in scene.objects:
                    column, row = (
                        int(at / scene.image_size * side)
                        for at, side in zip(item.center, (one.shape[1], one.shape[0]))
                    )
                    cells.setdefault(stage, []).append(one[row, column])
    stacked = ({k: torch.stack(v) for k, v in group.items()} for group in (cells, means))
    return *stacked, shapes


def probe(
    maps_of: Callable[[Sequence[Scene]], Mapping], train: Sequence[Scene], val: Sequence[Scene]
) -> dict:
    """What linear classifiers read from the maps of each stage.

    Args:
        maps_of: scenes to maps, stage -> (B, H, W, C) float32.
        train: scenes to which the classifiers are fitted.
        val: scenes on which they are scored.

    Returns:
        ``chance``: question -> accuracy of the best answer that is always the same, or
        mean average precision of a random order; ``stages``: for each its ``stage``, ``map``
        (H, W, C), and an accuracy or mean average precision for each question.
    """
    import torch

    from fiber_mmdet.evaluation.linear_probe import accuracy, average_precisions, fit_probe

    classes = {name: list(names) for name, (names, _) in OF_OBJECTS.items()}
    said = [  # for train and val, question -> scene -> class of each object
        {
            name: [[classes[name].index(of(scene, item)) for item in scene.objects] for scene in x]
            for name, (_, of) in OF_OBJECTS.items()
        }
        for x in (train, val)
    ]
    targets: dict[str, tuple] = {
        name: tuple(torch.tensor(sum(x[name], [])) for x in said) for name in OF_OBJECTS
    }
    for name, kind in OF_SCENES.items():
        targets[name] = tuple(
            torch.tensor([[k in scene for k in range(len(classes[kind]))] for scene in x[kind]])
            for x in said
        )
    chance = {}
    for name, (_, scored) in targets.items():
        if name in OF_OBJECTS:
            counts = Counter(scored.tolist())
            chance[name] = max(counts.values()) / len(scored)
        else:
            share = scored.double().mean(0)
            chance[name] = share[share > 0].mean().item()
    (cells, means, shapes), (val_cells, val_means, _) = look(maps_of, train), look(maps_of, val)
    rows = []
    for stage, shape in shapes.items():
        row = dict(stage=stage, map=list(shape))
        for name, (fitted, scored) in targets.items():
            x, y = (cells, val_cells) if name in OF_OBJECTS else (means, val_means)
            number = len(classes[OF_SCENES.get(name, name)])
            logits = fit_probe(x[stage], fitted, number)(y[stage])
            if name in OF_OBJECTS:
                row[name] = accuracy(logits, scored)
            else:
                row[name] = average_precisions(logits, scored).nanmean().item()
        rows.append(row)
    return dict(chance=chance, stages=rows)


def table(found: Mapping) -> str:
    """The figures as a table in Markdown."""
    heads = ['after', 'map']
    for name, value in found['chance'].items():
        kind = ', mean AP' if name in OF_SCENES else ''
        heads.append(f'{name}{kind} (chance {value:.2f})')
    lines = [heads, ['---'] * len(heads)]
    for row in found['stages']:
        figures = [f'{row[name]:.3f}' for name in found['chance']]
        lines.append([row['stage'], ' x '.join(map(str, row['map'])), *figures])
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def main() -> int:
    """The exit code: 1 if there is no such model."""
    args = parse_args()
    try:
        with quiet_imports():
            import fiber_mmdet.apis.image_text_loading  # noqa: F401
        from fiber_mmdet.outputs import refuse_inputs, write_json

        refuse_inputs([args.json], [args.config, args.weights])
        tower = make_tower(args)
        scenes = [
            [sample_scene(split, i, args.seed) for i in range(getattr(args, split))]
            for split in ('train', 'val')
        ]
        found = probe(tower, *scenes)
        print(table(found))
        if args.json:
            settings = dict(config=args.config, weights=str(args.weights), seed=args.seed)
            write_json(args.json, dict(settings, train=args.train, val=args.val, **found), indent=1)
    except (OSError, ValueError, TypeError, KeyError, SyntaxError) as error:
        return fail(error)
    return 0


if __name__ == '__main__':
    run_tool(main)
