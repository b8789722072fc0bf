#!/usr/bin/env python3
"""Serve a model: a web page, a JSON API, and a backend for Label Studio (docs/serving.md):

    python tools/serve.py                                 # the packaged models
    python tools/serve.py --model desco-fiber-b           # real photos
    python tools/serve.py --config my_config.py --weights my_checkpoint.pth
    python tools/serve.py --vl-config my_vqa.py --vl-weights my_vqa.pth      # questions
    python tools/serve.py --model desco-fiber-b --image-host http://localhost:8080
    python tools/serve.py --host 0.0.0.0 --auth ann:secret

Then open http://127.0.0.1:7860, or ask by program:

    curl -F image=@photo.jpg -F prompt="a dog . a frisbee" http://127.0.0.1:7860/api/find

Nobody outside this machine is told anything, or asked, except for weights by name and images of
--image-host. The extra `web` is needed: `pip install "fiber_mmdet[web]"`.
"""

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from command_line import fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser

PORT = 7860


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    models = parser.add_argument_group(
        'models',
        'Without any of these, both packaged models are served: a detector, and an image-text '
        'model. Otherwise only those that are named.',
    )
    for prefix, what in (('', 'a detector'), ('vl-', 'an image-text model')):
        which = models.add_mutually_exclusive_group()
        which.add_argument(
            f'--{prefix}model', metavar='NAME', help=f'{what} by name (tools/weights.py list)'
        )
        which.add_argument(f'--{prefix}config', metavar='FILE', help=f'config of {what}')
        models.add_argument(
            f'--{prefix}weights',
            metavar='FILE',
            help='its checkpoint, an address (hf://…, fiber://NAME), or "random"; if not given, '
            f'the load_from of the config, or those of --{prefix}model',
        )
        models.add_argument(
            f'--{prefix}tokenizer',
            metavar='NAME',
            help='directory or hub name of another tokenizer',
        )
    models.add_argument(
        '--vl-answers',
        metavar='FILE',
        help='json list of what the classes of a VQA head stand for, if neither the checkpoint nor '
        "the config's dataset has it",
    )
    models.add_argument('--device', help='such as cpu or cuda:0; a GPU if there is one')
    models.add_argument(
        '--precision',
        choices=('float32', 'bfloat16', 'float16'),
        help='of the detector: faster, with slightly different boxes (default: float32)',
    )
    answers = parser.add_argument_group('answers')
    answers.add_argument(
        '--score-thr',
        type=float,
        default=0.5,
        help='least score of a detection, unless a request says another',
    )
    answers.add_argument(
        '--chunked-size',
        type=int,
        metavar='N',
        help='read N names at a time, unless a request says another number (default: what the '
        'config says)',
    )
    reach = parser.add_argument_group('who can ask')
    reach.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at: 127.0.0.1 is this machine only, 0.0.0.0 the whole network',
    )
    reach.add_argument('--port', type=int, default=PORT, help='0 for a free one')
    reach.add_argument(
        '--auth',
        type=user_and_password,
        metavar='USER:PASSWORD',
        help='ask for these; also read from the environment variable FIBER_AUTH, which other users '
        'of this machine do not see (default: nobody is asked)',
    )
    reach.add_argument('--no-page', action='store_true', help='JSON API and Label Studio only')
    images = parser.add_argument_group('images that tasks of Label Studio name')
    images.add_argument(
        '--image-host',
        action='append',
        default=[],
        metavar='URL',
        help='fetch them from this server, http://localhost:8080, and no other; may be repeated. '
        'The first is Label Studio itself, whose token is read from LABEL_STUDIO_API_KEY',
    )
    images.add_argument(
        '--local-files',
        type=path_argument,
        metavar='DIR',
        help='read those that are named by path below this folder (default: none are read)',
    )
    limits = parser.add_argument_group('limits')
    for option, kind, default, text in (
        ('max-mb', float, 20, 'megabytes of an image file'),
        ('max-megapixels', float, 50, 'million pixels of an image'),
        ('cache-mb', float, 512, 'megabytes of encoded images and results that are kept'),
        ('waiting', int, 16, 'requests that wait while one is answered'),
        ('prompt-characters', int, 4000, 'characters of the texts of a request'),
        ('texts', int, 50, 'questions or texts of a request'),
        ('tasks', int, 100, 'tasks of Label Studio in a request'),
        ('keep-minutes', float, 60, 'minutes that uploads of the page stay on the disk'),
    ):
        limits.add_argument(
            f'--{option}',
            type=kind,
            default=default,
            metavar='N',
            help=f'{text}',
        )
    args = parser.parse_args()
    for prefix in ('', 'vl_'):
        if getattr(args, f'{prefix}weights') and not (
            getattr(args, f'{prefix}config') or getattr(args, f'{prefix}model')
        ):
            option = prefix.replace('_', '-')
            parser.error(f'--{option}weights needs the --{option}config that it fits')
    return args


def user_and_password(text: str) -> tuple[str, str]:
    """User and password of USER:PASSWORD, from the command line.

    Raises:
        argparse.ArgumentTypeError: another form.
    """
    user, _, password = text.partition(':')
    if not (user and password):
        raise argparse.ArgumentTypeError('it must look like USER:PASSWORD')
    return user, password


def load_models(args: argparse.Namespace):
    """The models that the command line names, behind its limits."""
    from fiber_mmdet.apis import FIBERInferencer, ImageTextInferencer
    from fiber_mmdet.serving import Limits, ServedModels
    from fiber_mmdet.serving.models import NamedModel
    from fiber_mmdet.weights.addresses import model_named
    from fiber_mmdet.weights.catalogue import DETECTOR, IMAGE_TEXT

    # what the limits refuse is said before models are loaded
    limits = Limits(**{field.name: getattr(args, field.name) for field in fields(Limits)})

    def known(name: str | None, config: str | None) -> str | None:
        return model_named(name) if name is not None else config

    detector = known(args.model, args.config)
    image_text = known(args.vl_model, args.vl_config)
    both = detector is None and image_text is None
    served = {}
    if both or detector is not None:
        find = FIBERInferencer(
            detector,
            args.weights,
            args.device,
            args.tokenizer,
            precision=args.precision,
        )
        name = args.model or (Path(detector).stem if detector else DETECTOR)
        served['detector'] = NamedModel(find, name, name == DETECTOR)
    if both or image_text is not None:
        ask = ImageTextInferencer(
            image_text,
            args.vl_weights,
            args.device,
            args.vl_tokenizer,
            args.vl_answers,
            show_progress=False,
        )
        name = args.vl_model or (Path(image_text).stem if image_text else IMAGE_TEXT)
        served['image_text'] = NamedModel(ask, name, name == IMAGE_TEXT)
    return ServedModels(
        **served, limits=limits, score_thr=args.score_thr, chunked_size=args.chunked_size
    )


def say_where(args: argparse.Namespace, port: int, loopback: bool, auth: bool) -> None:
    """Print the address, and who can reach it."""
    host = f'[{args.host}]' if ':' in args.host else args.host
    address = f'http://{host}:{port}'
    if not loopback:
        everybody = (
            'everybody who reaches this machine'
            if args.host in ('0.0.0.0', '::')
            else f'everybody who reaches {args.host}'
        )
        if auth:
            print(
                f'warning: {everybody} can try passwords, which travel readable: put a server with '
                'https in front',
                file=sys.stderr,
            )
        else:
            print(
                f'warning: {everybody} can use the models and upload images: there is no password '
                '(--auth USER:PASSWORD)',
                file=sys.stderr,
            )
    what = 'the JSON API' if args.no_page else 'the page'
    print(f'{what} is at {address}, for Label Studio too; Ctrl-C ends', flush=True)


def main() -> int:
    """The exit code: 1 if the server cannot start."""
    args = parse_args()
    said = os.environ.get('FIBER_AUTH')
    try:
        auth = args.auth or (user_and_password(said) if said else None)
    except argparse.ArgumentTypeError as error:
        return fail(f'FIBER_AUTH: {error}')
    try:
        with quiet_imports():
            from fiber_mmdet.host import MissingExtra
            from fiber_mmdet.serving import app as web
            from fiber_mmdet.serving.image_addresses import ImageAddresses
    except ImportError as error:
        return fail(error)
    try:
        web.need_web()
        with web.listen(args.host, args.port) as at, web.upload_folder():
            models = load_models(args)
            token = os.environ.get('LABEL_STUDIO_API_KEY', '')
            addresses = ImageAddresses(args.image_host, args.local_files, token, models.limits)
            loopback = web.is_loopback(args.host)
            app = web.create_app(models, addresses, not args.no_page, auth, loopback)
            say_where(args, at.getsockname()[1], loopback, auth is not None)
            web.run(app, at)
        return 0
    except KeyboardInterrupt:
        return 0
    except (MissingExtra, OSError, ValueError) as error:
        return fail(error)


if __name__ == '__main__':
    run_tool(main)
