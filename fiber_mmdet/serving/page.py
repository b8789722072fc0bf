"""The web page: a photo on one side, what can be asked about it on the other."""

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fiber_mmdet.apis import GroundingResult, demo_image, demo_prompt
from fiber_mmdet.version import __version__
from fiber_mmdet.visualization.detections import draw_detections

from . import page_html as html
from .limits import RequestError
from .models import TASKS, ServedModels
from .sent_images import SentImage

# what the tabs of packaged models begin with, about the packaged scene
QUESTIONS = 'what color is the star?\nhow many hearts are there?\nwhere is the ring?'
TRUE_TEXT = (
    'one small blue heart, one large red ring, one large blue circle, one small purple cross, one '
    'large yellow star and one large green heart'
)
TEXTS = (
    'two large red squares and one small white cross\n'
    f'{TRUE_TEXT}\n{TRUE_TEXT.replace("purple cross", "purple triangle")}'
)
PHRASES = 'red ring; purple cross; yellow star'
LONGEST_SIDE = 1280  # of a drawing in the page, in pixels
MOST_CHUNKED = 100

QUIET = 'color: var(--body-text-color-subdued);'
CSS = """
.gradio-container {max-width: 1400px !important; margin: 0 auto;}
.head h1 {font-size: 1.5rem; margin: 0;}
.head p {margin: 0.1rem 0; QUIET}
.status {padding: 0.4rem 0.7rem; border-left: 4px solid #009e73;}
.status .times {margin-left: 0.8em; QUIET}
.status.problem {border-left-color: #d55e00;}
.found table {border-collapse: collapse; border: 0 !important; width: 100%;}
.found th {text-align: left; font-weight: normal; QUIET}
.found table :is(td, th) {padding: 0.25rem 0.6rem; border: 0; border-bottom: 1px solid #8884;}
.found .box {font-family: monospace; white-space: nowrap;}
.found .chip {padding: 0.05rem 0.45rem; border-radius: 0.25rem; font-weight: 600;}
.found .bar {width: 30%;} .found .bar div {height: 0.8rem; min-width: 1px; background: #0072b2;}
.found .download {display: inline-block; margin-top: 0.6rem;}
#drawing img {max-height: 36rem; object-fit: contain;}
.caption {font-size: 1.2rem; margin: 0.5rem 0;}
""".replace('QUIET', QUIET)


def looks() -> dict[str, Any]:
    """Arguments of Gradio for how the page looks, with fonts of the reader's own system."""
    import gradio

    theme = gradio.themes.Default(
        primary_hue='blue',
        font=['ui-sans-serif', 'system-ui', 'sans-serif'],
        font_mono=['ui-monospace', 'monospace'],
    )
    return dict(theme=theme, css=CSS)


def build_page(models: ServedModels) -> Any:
    """The page as ``gradio.Blocks``, with a tab for each task that the models do.

    Args:
        models: to be asked.
    """
    import gradio as gr

    keep = round(60 * models.limits.keep_minutes)
    page = gr.Blocks(analytics_enabled=False, title='FIBER', delete_cache=(60, keep))
    scene = demo_image() if models.packaged else None
    with page:
        gr.HTML(_heading(models), elem_classes='head')
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                photo = gr.Image(
                    scene,
                    label='Photo',
                    type='filepath',
                    image_mode=None,
                    sources=['upload', 'clipboard'],
                    buttons=[],
                    height=400,
                    elem_id='photo',
                )
                example = None
                if scene:
                    example = gr.Examples([[scene]], [photo], label='Example').load_input_event
                    gr.Markdown(_packaged_note(models))
            with gr.Column(scale=3, min_width=420), gr.Tabs():
                tabs = _Tabs(gr, page, models, photo, example)
                for task in models.tasks:
                    getattr(tabs, task)()
        tabs.listen_to_photo()
    _refuse_addresses(page)
    waiting = models.limits.waiting
    page.queue(default_concurrency_limit=waiting, max_size=waiting, api_open=False)
    return page


def _heading(models: ServedModels) -> str:
    names = ', '.join(dict.fromkeys(models.names.values()))
    lacking = [what for task, what in TASKS.items() if models.lacking(task)]
    rest = f' Not here: {", ".join(lacking)}.' if lacking else ''
    return (
        '<h1>FIBER</h1><p>Drop a photo, say what to look for. The photo is encoded once, each '
        f'further text costs only the fused blocks.{rest}</p>'
        f'<p>{names} · fiber_mmdet {__version__}</p>'
    )


def _packaged_note(models: ServedModels) -> str:
    names = ' and '.join(models.packaged)
    know = 'know' if len(models.packaged) > 1 else 'knows'
    return (
        f'**{names}** {know} generated scenes only: circles, stars, hearts and the like, as in the '
        'example. On real photos the answers mean nothing; start the server with `--model NAME` '
        'for those.'
    )


def _refuse_addresses(page: Any) -> None:
    """Files come by upload only: Gradio would fetch one that a request names by its address."""

    def only_files(move: Callable) -> Callable:
        @functools.wraps(move)
        async def moved(path: Any) -> Any:
            if '://' in str(path or ''):
                raise ValueError('files are uploaded, not fetched')
            return await move(path)

        return moved

    for block in page.blocks.values():
        if hasattr(block, 'async_move_resource_to_block_cache'):
            block.async_move_resource_to_block_cache = only_files(
                block.async_move_resource_to_block_cache
            )


class _Tabs:
    """The tabs of a page: each method makes one, named like the task.

    Inputs come as the browser sends them, so that a file is read here and nowhere else.
    """

    def __init__(self, gr: Any, page: Any, models: ServedModels, photo: Any, example: Any) -> None:
        self.gr = gr
        self.page = page
        self.models = models
        self.photo = photo
        self.example = example  # the listener that puts the example there; None for none
        self.about_photo: list = []  # outputs that are about the photo
        self.look: Callable[[], None] | None = None  # makes the listener of what looks at it

    def find(self) -> None:
        """Boxes for words."""
        gr, models = self.gr, self.models
        with gr.Tab('Find'):
            prompt = gr.Textbox(
                demo_prompt() if models.packaged else '',
                label='What to look for',
                info='names with " . " between them, or a caption, for its noun phrases',
                placeholder='a dog . a frisbee',
                elem_id='prompt',
            )
            whole = gr.Checkbox(False, label='The whole text describes one thing')
            with gr.Row():
                threshold = gr.Slider(
                    0, 1, models.score_thr, step=0.01, label='Least score', elem_id='threshold'
                )
                chunks = gr.Slider(
                    0,
                    MOST_CHUNKED,
                    self._chunked(),
                    step=1,
                    label='Names read at a time',
                    info='0: all at once',
                    elem_id='chunks',
                )
            button = gr.Button('Find', variant='primary', elem_id='find')
            said = gr.HTML(elem_id='find-status')
            drawing = gr.Image(
                format='jpeg',
                interactive=False,
                show_label=False,
                buttons=BUTTONS,
                elem_id='drawing',
            )
            table = gr.HTML(elem_id='detections', elem_classes='found')

        def find(photo: Any, prompt: str, whole: bool, threshold: float, chunks: float) -> tuple:
            image = self._sent(photo)
            if image is None:
                return '', None, ''
            if not str(prompt or '').strip():
                times = models.encode(image, 'find')
                return html.status('Say what to look for.', times), None, ''
            options = dict(tokens_positive=-1) if whole else {}
            # a box for a number can be empty
            result, times = models.find(image, str(prompt), int(chunks or 0) or -1, **options)
            threshold = float(threshold or 0)
            shown = replace(result.above(threshold), image=image.name)
            said = f'{len(shown)} found'
            if not len(shown):
                said = f'Nothing scores {threshold:g} or more'
            link = html.download(shown.to_dict(), 'found.json')
            line = html.status(said, times, models.remark('find', image))
            return line, _draw(image, shown), html.detections(shown) + link

        inputs, outputs = [self.photo, prompt, whole, threshold, chunks], [said, drawing, table]
        # One listener for all, so that answers come in the order of the events, and the last one
        # is never passed over. Not `change` of the photo, which here fires without end.
        events = [button.click, prompt.submit, self.photo.upload, self.page.load]
        events += [threshold.change, chunks.change, whole.change]
        how = dict(show_progress='minimal', trigger_mode='always_last')
        self.look = functools.partial(self._on, events, find, inputs, outputs, **how)
        self.about_photo += outputs

    def ask(self) -> None:
        """Answers to questions."""
        models = self.models

        def ask(photo: Any, questions: str) -> tuple:
            image = self._need(photo)
            found, times = models.ask(image, str(questions or '').splitlines())
            link = html.download(dict(image=image.name, answers=found), 'answers.json')
            line = html.status('Answers', times, models.remark('ask', image))
            return line, html.answers(found) + link

        self._of_lines('ask', 'Questions', QUESTIONS, ask, 'Ask', 'questions', 'answers')

    def caption(self) -> None:
        """A caption."""
        gr, models = self.gr, self.models
        with gr.Tab('Captions'):
            button = gr.Button('Describe the photo', variant='primary', elem_id='describe')
            said = gr.HTML(elem_id='caption-status')
            text = gr.HTML(elem_classes='found', elem_id='caption')

        def describe(photo: Any) -> tuple:
            image = self._need(photo)
            caption, times = models.caption(image)
            link = html.download(dict(image=image.name, caption=caption), 'caption.json')
            line = html.status('Caption', times, models.remark('caption', image))
            return line, html.caption(caption) + link

        self._on([button.click], describe, [self.photo], [said, text])
        self.about_photo += [said, text]

    def match(self) -> None:
        """Which of several texts fits."""
        models = self.models

        def match(photo: Any, texts: str) -> tuple:
            image = self._need(photo)
            found, times = models.match(image, str(texts or '').splitlines())
            link = html.download(dict(image=image.name, matches=found), 'matches.json')
            line = html.status('Best first', times, models.remark('match', image))
            return line, html.matches(found) + link

        info = 'the one that describes the photo best comes first'
        self._of_lines('match', 'Matching', TEXTS, match, 'Match', 'texts', 'matches', info)

    def attention(self) -> None:
        """Where words look."""
        gr, models = self.gr, self.models
        with gr.Tab('Attention'):
            text = gr.Textbox(
                TRUE_TEXT if models.packaged else '',
                label='Text',
                info='whose words are looked for in the photo',
                elem_id='text',
            )
            phrases = gr.Textbox(
                PHRASES if models.packaged else '',
                label='Phrases of it',
                info='with ";" between them; each word if empty',
            )
            direction = gr.Radio(
                [('where words look', 'looks'), ('what the cells of the image read', 'reads')],
                value='looks',
                label='Direction',
            )
            button = gr.Button('Show', variant='primary', elem_id='look')
            said = gr.HTML(elem_id='attention-status')
            drawing = gr.Image(
                format='jpeg', interactive=False, show_label=False, buttons=BUTTONS, elem_id='maps'
            )
            link = gr.HTML(elem_classes='found')

        def look(photo: Any, text: str, phrases: str, direction: str) -> tuple:
            image = self._need(photo)
            maps, times = models.attention(image, str(text or ''), str(phrases or '').split(';'))
            direction = 'reads' if direction == 'reads' else 'looks'
            maps = replace(maps, image=image.name)
            drawn = maps.draw(image.pixels, direction=direction)
            said = (
                'Bright where a word looks' if direction == 'looks' else 'Bright where it is read'
            )
            line = html.status(said, times, models.remark('attention', image))
            return line, drawn, html.download(maps.to_dict(), 'attention.json')

        inputs, outputs = [self.photo, text, phrases, direction], [said, drawing, link]
        self._on([button.click, text.submit, phrases.submit], look, inputs, outputs)
        self.about_photo += outputs

    # ------------------------------------------------------------- together
    def _of_lines(
        self,
        task: str,
        title: str,
        example: str,
        run: Callable[..., tuple],
        button: str,
        texts: str,
        answers: str,
        info: str | None = None,
    ) -> None:
        """A tab in which texts are asked about the photo, one per line."""
        gr = self.gr
        with gr.Tab(title):
            asked = gr.Textbox(
                example if self.models.packaged else '',
                lines=3,
                label=f'{texts.capitalize()}, one per line',
                info=info,
                elem_id=texts,
            )
            go = gr.Button(button, variant='primary', elem_id=task)
            said = gr.HTML(elem_id=f'{task}-status')
            table = gr.HTML(elem_classes='found', elem_id=answers)
        self._on([go.click, asked.submit], run, [self.photo, asked], [said, table])
        self.about_photo += [said, table]

    def _on(
        self, events: list, run: Callable[..., tuple], inputs: list, outputs: list, **how: Any
    ) -> None:
        """Run a handler on events; what cannot be done is said in the first output.

        An answer that comes when there is another photo is removed. (Gradio's own `cancels` would
        leave the word "Error" in its place.)

        Args:
            events: of Gradio's components.
            run: from the values of the inputs to those of the outputs.
            inputs: the photo first.
            outputs: the line that says what was done first.
            **how: of the listener.
        """

        @functools.wraps(run)
        def answered(*given: Any) -> tuple:
            try:
                return run(*given)
            except RequestError as error:
                return html.problem(error), *(None for _ in outputs[1:])

        task = json.dumps(run.__name__)
        how.update(preprocess=False, api_visibility='private')
        how['js'] = f'(...given) => (({ASKED})[{task}] = given[0]?.path, given)'
        late = f'photo => photo?.path === ({ASKED})[{task}] ? [] : {_nothing(outputs)}'
        self.gr.on(events, answered, inputs, outputs, **how).then(
            None, self.photo, outputs, js=late
        )

    def listen_to_photo(self) -> None:
        """Remove answers about the photo before, then look at the new one.

        In this order: listeners to the same event run one after another. The browser removes the
        answers itself.
        """
        empty = dict(
            inputs=None, outputs=self.about_photo, js=f'() => {_nothing(self.about_photo)}'
        )
        self.gr.on([self.photo.upload, self.photo.clear], None, **empty)
        if self.look is not None:
            self.look()
        if self.example is not None:  # which is no upload
            shown = self.example.then(None, **empty)
            if self.look is not None:
                shown.then(None, js="() => document.querySelector('#find').click()")

    def _sent(self, photo: Any) -> SentImage | None:
        """The photo as it was uploaded; None for none."""
        if not photo:
            return None
        path = Path(photo['path'])
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RequestError(
                'this photo is no longer kept on the server: drop it once more'
            ) from error
        return self.models.read(content, Path(photo.get('orig_name') or path.name).name)

    def _need(self, photo: Any) -> SentImage:
        image = self._sent(photo)
        if image is None:
            raise RequestError('there is no photo yet: drop one on the left')
        return image

    def _chunked(self) -> int:
        """Names read at a time unless a reader chooses another number; 0 for all."""
        size = self.models.chunked_size
        if size is None:
            assert self.models.detector is not None
            config = self.models.detector.inferencer.model.test_cfg or {}
            size = config.get('chunked_size', -1)
        return min(max(size, 0), MOST_CHUNKED)


BUTTONS = ['download', 'fullscreen']
ASKED = 'window.fiberAsked ??= {}'  # in the browser: the photo that each task was last asked about


def _nothing(outputs: list) -> str:
    """Empty values for outputs, as JavaScript."""
    return json.dumps([None] * len(outputs))


def _draw(image: SentImage, result: GroundingResult) -> np.ndarray:
    """The drawing of a result, not larger than a page needs."""
    pixels, scale = image.pixels, 1.0
    longest = max(pixels.shape[:2])
    if longest > LONGEST_SIDE:
        scale = LONGEST_SIDE / longest
        height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)
        pixels = np.asarray(small)
    return draw_detections(
        pixels,
        result.boxes * scale,
        result.scores.tolist(),
        result.labels.tolist(),
        result.phrases,
        result.spans,
        result.caption,
    )
