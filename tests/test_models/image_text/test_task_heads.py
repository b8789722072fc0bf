"""Several tasks in one batch: the losses and gradients of a batch for each task."""

from types import SimpleNamespace

import pytest
import torch

from fiber_mmdet.models.image_text import tasks as tasks_module
from fiber_mmdet.models.image_text.batch import EncodedBatch
from fiber_mmdet.models.image_text.tasks import BatchPart, TaskTable
from fiber_mmdet.structures import SampleGroup
from image_text_pairs import build_model, images, model_cfg, samples

# image 3 has no caption, image 1 only captions
TASKS = ['caption', 'caption', 'fact', 'question', 'caption', 'caption', 'question', 'fact']
ROWS = [0, 0, 0, 0, 1, 1, 2, 2]
HEADS = dict(
    mlm=dict(type='MLMHead', mask_prob=0.5),
    itc=dict(type='ITCHead', queue_size=8),
    itm=dict(type='ITMHead'),
    caption=dict(type='CaptionHead', max_new_tokens=6),
    tags=dict(type='ImageTagHead', num_tags=4),
    mvm=dict(type='MVMHead', num_words=16, mask_prob=0.0),
    vqa=dict(type='VQAHead', num_answers=5),
    nlvr2=dict(type='NLVR2Head'),
)
OF_TASK = dict(
    caption=('mlm', 'itc', 'itm', 'caption', 'tags', 'mvm'),
    fact=('mlm', 'mvm'),
    question=('vqa', 'tags'),
    statement=('nlvr2',),
)


@pytest.fixture(autouse=True)
def in_float64(monkeypatch):
    """Objectives compute in float32 at least; here everything is in float64."""
    single = torch.Tensor.float
    monkeypatch.setattr(
        torch.Tensor, 'float', lambda x: x if x.dtype == torch.float64 else single(x)
    )


def pairs(tasks=TASKS, rows=ROWS):
    count = len(tasks)
    return samples(
        count,
        task=tasks,
        image_id=rows,
        tags=[[i % 4] for i in range(count)],
        answer_labels=[[i % 5] for i in range(count)],
        answer_scores=[[1.0]] * count,
        label=[i % 2 for i in range(count)],
    )


def grouped(records, rows):
    """Samples as one element of a batch for each image."""
    groups = {}
    for record, row in zip(records, rows):
        groups.setdefault(row, []).append(record)
    return [SampleGroup(samples=group) for group in groups.values()]


def views(rows=(0, 1, 2)):
    names = ('image', 'image_1')
    return {name: images(3, i).double()[list(rows)] for i, name in enumerate(names)}


def opened_model(heads, **more):
    """A model without dropout and drop path, in float64, with open gates."""
    cfg = model_cfg(heads, **more)
    cfg.backbone.text.dropout = 0.0
    cfg.backbone.image.drop_path = 0.0
    model = build_model(cfg)
    for name, parameter in model.named_parameters():
        if name.endswith('gate'):
            torch.nn.init.constant_(parameter, 0.5)
    return model.double()


@pytest.fixture
def seeded_heads(monkeypatch):
    """The random draws of a head depend on it alone."""

    def seed(model):
        for name, head in model.heads.items():

            def loss(part, name=name, inner=head.loss):
                torch.manual_seed(list(HEADS).index(name))
                return inner(part)

            monkeypatch.setattr(head, 'loss', loss)

    return seed


def losses_and_gradients(model, steps):
    """Losses of calls of the model, and the gradients of their sum."""
    model.zero_grad()
    found = {}
    for inputs, records in steps:
        losses = model(inputs, records, mode='loss')
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        found.update(losses)
    return found, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def alone(name, read):
    """The same model in which only one head is trained, and its batch of its own texts."""
    rows = [i for i, task in enumerate(TASKS) if task in read]
    kept = [ROWS[i] for i in rows]
    records = grouped([pairs()[i] for i in rows], kept)
    return views(dict.fromkeys(kept)), records


def test_losses_and_gradients_are_those_of_a_batch_for_each_task(seeded_heads):
    model = opened_model(HEADS, tasks=OF_TASK)
    seeded_heads(model)
    losses, gradients = losses_and_gradients(model, [(views(), grouped(pairs(), ROWS))])
    assert {name.split('_')[1] for name in losses if name.startswith('loss')} == (
        set(HEADS) - {'nlvr2'}
    )
    expected, sums = {}, {}
    for heads in (['mlm'], ['itc', 'itm'], ['caption'], ['tags'], ['mvm'], ['vqa']):
        separate = opened_model({name: HEADS[name] for name in HEADS})
        seeded_heads(separate)
        read = {task for task, names in OF_TASK.items() if heads[0] in names}
        for other in [name for name in HEADS if name not in heads]:
            separate.heads.pop(other)
        found, own = losses_and_gradients(separate, [alone(heads[0], read)])
        expected.update(found)
        for name, gradient in own.items():
            sums[name] = sums.get(name, 0) + gradient
    assert losses.keys() == expected.keys() and gradients.keys() == sums.keys()
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value, rtol=1e-6, atol=1e-9)
    for key, gradient in sums.items():
        error = (gradients[key] - gradient).norm()
        assert error <= 1e-6 * gradient.norm() + 1e-9, (key, error, gradient.norm())
    assert not any(name.startswith('heads.nlvr2') for name in gradients)


def test_a_batch_of_another_structure_trains_its_head_alone():
    model = opened_model(HEADS, tasks=OF_TASK)
    records = pairs(['statement'] * 3, [0, 1, 2])
    losses, gradients = losses_and_gradients(model, [(views(), records)])
    assert set(losses) == {'loss_nlvr2', 'nlvr2_accuracy'}
    assert not any(
        name.startswith('heads.') and '.nlvr2.' not in name for name in gradients
    ) and any('.nlvr2.' in name for name in gradients)
    plain = opened_model(dict(nlvr2=HEADS['nlvr2']))
    plain.load_state_dict(model.state_dict(), strict=False)
    value, _ = losses_and_gradients(plain, [(views(), records)])
    torch.testing.assert_close(losses['loss_nlvr2'], value['loss_nlvr2'], rtol=1e-9, atol=0)


def test_images_are_encoded_once_for_all_tasks(monkeypatch):
    model = opened_model(HEADS, tasks=OF_TASK)
    seen = []
    for name in ('encode_image', 'finish_image'):
        inner = getattr(model.backbone, name)

        def counted(x, name=name, inner=inner):
            seen.append((name, len(x)))
            return inner(x)

        monkeypatch.setattr(model.backbone, name, counted)
    model(views(), grouped(pairs(), ROWS), mode='loss')
    assert seen == [('encode_image', 3), ('finish_image', 3)]


def test_parts_of_a_batch():
    model = opened_model(HEADS)
    whole = EncodedBatch(model, views(), grouped(pairs(), ROWS))
    part = BatchPart(whole, [1, 3, 6])
    assert part.texts == [whole.texts[i] for i in (1, 3, 6)] and len(part) == 3
    assert part.texts_of_image == [2, 1] and part.image_rows.tolist() == [0, 0, 1]
    assert torch.equal(part.pixels(), whole.pixels()[[0, 2]])
    assert torch.equal(part.images().tokens, whole.images().tokens[[0, 2]])
    assert torch.equal(part.pair_pixels('image_1'), whole.pixels('image_1')[[0, 0, 2]])
    everything = BatchPart(whole, range(8))
    assert everything.images() is whole.images() and everything.pixels() is whole.pixels()
    prefixes = EncodedBatch(model, {}, grouped(pairs(), ROWS), {'image': whole.images()})
    assert torch.equal(BatchPart(prefixes, [6]).image().tokens, whole.images().tokens[[2]])


@pytest.mark.parametrize(
    'tasks, message',
    [
        (dict(OF_TASK, fact=('mlm', 'lm')), "tasks.fact names a head 'lm', but the heads are mlm"),
        (dict(OF_TASK, fact=()), r'tasks.fact=\(\) must list the heads'),
        (dict(OF_TASK, fact='mlm'), "tasks.fact='mlm' must list the heads"),
        (dict(OF_TASK, statement=('mlm',)), "no task lists the head 'nlvr2'"),
        (
            dict(OF_TASK, fact=('mlm', 'itm')),
            "'itm' reads 'caption' and 'fact', but its hard negatives .* texts of 'caption'",
        ),
    ],
)
def test_tasks_that_do_not_fit_the_heads(tasks, message):
    with pytest.raises(ValueError, match=message):
        build_model(model_cfg(HEADS, tasks=tasks))


def test_switched_off_heads_and_tasks():
    heads = dict(HEADS, mvm=None, vqa=None)
    model = build_model(model_cfg(heads, tasks=dict(OF_TASK, fact=None)))
    assert model.tasks.tasks == ('caption', 'question', 'statement')
    assert model.tasks.of_head['tags'] == {'caption', 'question'}
    model = build_model(model_cfg(dict(heads, tags=None), tasks=OF_TASK))
    assert model.tasks.tasks == ('caption', 'fact', 'statement')


def test_samples_that_no_head_reads():
    model = opened_model(HEADS, tasks=OF_TASK)
    with pytest.raises(ValueError, match="task 'other', which no head reads.*caption, fact"):
        model(views(), pairs(['caption', 'other', 'caption'], [0, 1, 2]), mode='loss')
    with pytest.raises(KeyError, match='task.*TasksOfImages'):
        model(views(), samples(3), mode='loss')


def test_predictions_need_no_task():
    model = opened_model(HEADS, tasks=OF_TASK, predict_with=['vqa']).eval()
    assert all('pred_answer' in sample for sample in model(views(), samples(3), mode='predict'))


def test_heads_take_part_if_all_processes_have_pairs(monkeypatch):
    """The other process has captions and questions; this one captions and facts."""
    heads = {
        name: SimpleNamespace(uses_hard_negatives=False) for name in ('mlm', 'itc', 'vqa', 'tags')
    }
    table = TaskTable(dict(caption=['mlm', 'itc'], fact=['mlm', 'tags'], question=['vqa']), heads)
    others = torch.tensor([1.0, 1.0, 1.0, 0.0])
    said = []
    monkeypatch.setattr(tasks_module, 'all_reduce', lambda x: x.add_(others))
    monkeypatch.setattr(tasks_module, 'get_world_size', lambda: 2)
    monkeypatch.setattr(tasks_module, 'print_log', lambda text, *_: said.append(text))
    batch = SimpleNamespace(
        samples=pairs(['caption', 'fact'], [0, 1]),
        device='cpu',
        model=None,
        inputs={},
        texts_of_image=[1, 1],
    )
    for _ in range(5):
        parts = table.parts(batch)
        assert set(parts) == {'mlm', 'itc'}
        assert parts['mlm'] is batch and parts['itc'].samples == batch.samples[:1]
    assert len(said) == 3 and "head 'vqa' is left out of a step, since only 1 of 2" in said[0]
    others = torch.zeros(4)
    with pytest.raises(ValueError, match='no head has texts in all processes'):
        table.parts(batch)
