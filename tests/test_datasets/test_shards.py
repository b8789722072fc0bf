"""Samples from shards are those of the same files; what is broken is named and left out."""

import gzip
import io
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.datasets.shards import reading
from fiber_mmdet.datasets.shards.names import (
    ShardFacts,
    missing_shards,
    read_index,
    shard_names,
)
from fiber_mmdet.datasets.shards.reading import Fault, count_samples, read_shard
from fiber_mmdet.datasets.shards.streams import EndlessOrder, Lane
from made_shards import (
    PIPELINE,
    image,
    number_of,
    sample_files,
    write_json,
    write_shards,
    write_tar,
)

pytest.importorskip('webdataset', reason='needs the extra shards')


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(reading, 'RETRY_SECONDS', 0.0)


def build(kind='WebImageTextDataset', **cfg):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(dict(type=kind, **cfg))


def web(folder, **cfg):
    given = dict(shards='*.tar', data_root=str(folder), pipeline=PIPELINE)
    return build(**dict(given, **cfg))


def stream(dataset, number=0, count=1, seed=0, state=None):
    return dataset.open_stream(Lane(number, count, (seed,)), state)


def numbers(samples, count):
    return [number_of(sample) for sample in islice(samples, count)]


def faults_of(samples, count):
    """What a stream leaves out while it yields so many samples."""
    assert len(list(islice(samples, count))) == count
    return [str(fault) for fault in samples.take_faults()]


# ---------------------------------------------------------------------------- the samples
@pytest.mark.parametrize('texts', [1, 2])
def test_same_samples_as_files(texts, tmp_path):
    write_shards(tmp_path / 'shards', [4, 3], captions=3)
    write_json(tmp_path / 'json', 7, captions=3)
    files = build(
        'WebCaptionDataset',
        ann_file='captions.json',
        data_root=str(tmp_path / 'json'),
        pipeline=PIPELINE,
        texts_per_image=texts,
    )
    how = dict(caption_field='captions', texts_per_image=texts, shuffle=1, max_broken=0)
    shards = web(tmp_path / 'shards', **how)
    found = stream(shards)
    assert len(files) == (21 if texts == 1 else 14)
    for expected, sample in zip(list(files) * 2, found):
        assert torch.equal(sample['inputs']['image'], expected['inputs']['image'])
        ours, theirs = sample['data_samples'], expected['data_samples']
        for one, other in zip(*(getattr(x, 'samples', [x]) for x in (ours, theirs))):
            assert one.img_path.endswith('.png')
            for key in ('text', 'captions', 'image_id'):
                assert one.get(key) == other.get(key), key
    assert found.take_faults() == []


def test_txt_files_and_ids(tmp_path):
    write_tar(tmp_path / 'a.tar', {'x/1.PNG': image(5), 'x/1.txt': ' ein Hütchen \n'.encode()})
    sample = next(stream(web(tmp_path)))['data_samples']
    assert (sample.text, sample.image_id) == ('ein Hütchen', f'{tmp_path}/a.tar/x/1.png')


def test_orientation(tmp_path):
    """Images are turned upright, or not, by the rules of files."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new('RGB', (4, 2)).save(file, 'JPEG', exif=exif)
    write_tar(tmp_path / 'a.tar', {'1.jpg': file.getvalue(), '1.txt': b'a'})
    for color_type, shape in (('color', (4, 2)), ('color_ignore_orientation', (2, 4))):
        load = dict(type='LoadImageFromFile', color_type=color_type)
        steps = [dict(type='EachView', transforms=[load]), dict(type='PackImageText')]
        sample = next(stream(web(tmp_path, pipeline=steps)))
        assert sample['inputs']['image'].shape[1:] == shape


def test_the_limit_of_pixels(tmp_path, monkeypatch):
    """Images are refused by the rules of files."""
    write_shards(tmp_path, [3])
    monkeypatch.setenv('FIBER_MAX_PIXELS', '15')
    dataset = web(tmp_path, max_broken=0)
    with pytest.raises(ValueError, match='4x4 pixels are more than the limit of 15'):
        next(stream(dataset))


# ------------------------------------------------------------------------------ the order
def test_streams_divide_the_shards(tmp_path):
    """Two processes with two workers each: every sample is once in a pass, in one stream."""
    write_shards(tmp_path, [3] * 8)
    dataset = web(tmp_path, shuffle=2)
    parts = [numbers(stream(dataset, n, 4), 6) for n in range(4)]
    assert sorted(sum(parts, [])) == list(range(24))
    # the next pass has another order, and again each of them
    later = [numbers(islice(stream(dataset, n, 4), 6, None), 6) for n in range(4)]
    assert sorted(sum(later, [])) == list(range(24)) and later != parts


def test_fewer_shards_than_streams(tmp_path):
    """Nobody waits for others; each pass has every shard once."""
    write_shards(tmp_path, [2, 2, 2])
    dataset = web(tmp_path, shuffle=1)
    parts = [numbers(stream(dataset, n, 4), 6) for n in range(4)]
    assert sorted(sum(parts, [])) == sorted([*range(6)] * 4)
    order = [EndlessOrder(3, (0,))[i] for i in range(12)]
    assert all(sorted(order[i : i + 3]) == [0, 1, 2] for i in (0, 3, 6, 9))


def test_remarks(tmp_path):
    write_shards(tmp_path, [1, 1])
    dataset = web(tmp_path)
    assert not list(dataset.remarks(2))
    (said,) = dataset.remarks(3)
    assert '3 data workers read 2 shards' in said
    mix = build('WeightedMixDataset', datasets=[dataset], weights=[1])
    assert list(mix.remarks(3)) == [said]


def test_order_is_a_function_of_the_seed(tmp_path):
    write_shards(tmp_path, [5] * 6)
    one, same, other = (numbers(stream(web(tmp_path), seed=s), 60) for s in (1, 1, 2))
    assert one == same != other
    # more are shuffled than a pass has, and still no sample comes twice before another
    assert sorted(one[:30]) == sorted(one[30:]) == list(range(30)) != one[:30]
    plain = numbers(stream(web(tmp_path, shuffle=1)), 60)
    assert plain == [*range(30)] * 2


@pytest.mark.parametrize('shuffle', [1, 4, 50])
def test_a_stream_goes_on_from_its_state(shuffle, tmp_path):
    """At any point, also with broken samples, several captions, and a shard that is cut off."""
    paths = write_shards(tmp_path, [4, 5, 3], captions=2)
    write_tar(tmp_path / '00003.tar', sample_files(90, 2) | {'91.png': b'?', '91.txt': b'x'})
    paths[1].write_bytes(paths[1].read_bytes()[:9000])
    dataset = web(tmp_path, caption_field='captions', shuffle=shuffle, max_broken=1)
    whole = stream(dataset, 1, 2)
    states = [whole.state()]
    expected = []
    for _ in range(60):
        expected.append(number_of(next(whole)))
        states.append(json.loads(json.dumps(whole.state())))
    for done in (0, 1, 3, 10, 25, 41):
        again = stream(dataset, 1, 2, state=states[done])
        assert numbers(again, 19) == expected[done : done + 19]
        assert {**again.state(), 'front': 0} == {**states[done + 19], 'front': 0}


def test_samples_before_are_not_decoded(tmp_path, monkeypatch):
    write_shards(tmp_path, [6] * 4)
    calls = []
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = web(tmp_path, shuffle=4, pipeline=[lambda r: calls.append(r['image_id']) or r])
    whole = stream(dataset)
    for _ in range(11):
        next(whole)
    calls.clear()
    opened = []
    entries = dataset.entries
    monkeypatch.setattr(dataset, 'entries', lambda *place: opened.append(place) or entries(*place))
    again = stream(dataset, state=whole.state())
    assert not calls
    next(again)
    assert len(calls) == 1
    # the running block of 4, which begins with the third sample of a shard, and 3 after it
    assert len(opened) == 2 and opened[0][1] == 2


# --------------------------------------------------------------------------- what is broken
BROKEN = {
    'no image': ({'7.txt': b'a'}, 'no image (it has txt)'),
    'two images': ({'7.png': image(1), '7.jpg': image(1), '7.txt': b'a'}, 'several images'),
    'no caption': ({'7.png': image(1)}, 'no txt file'),
    'blank': ({'7.png': image(1), '7.txt': b' \n'}, 'its caption is blank'),
    'no utf-8': ({'7.png': image(1), '7.txt': b'\xff'}, 'not UTF-8'),
    'bad image': ({'7.png': image(1)[:40], '7.txt': b'a'}, 'its image cannot be read'),
    'empty image': ({'7.png': b'', '7.txt': b'a'}, 'the file is empty'),
    'bad json': ({'7.png': image(1), '7.txt': b'a', '7.json': b'{'}, 'not a json file'),
    'list': ({'7.png': image(1), '7.txt': b'a', '7.json': b'[]'}, 'holds [], not an object'),
}


@pytest.mark.parametrize('case', BROKEN)
def test_broken_sample(case, tmp_path):
    files, said = BROKEN[case]
    good = {'1.png': image(3), '1.txt': b'good'}
    write_tar(tmp_path / 'a.tar', good | files)
    samples = stream(web(tmp_path, shuffle=1))
    (fault,) = faults_of(samples, 2)
    assert fault.startswith(f'{tmp_path}/a.tar, 7: ') and said in fault
    state = samples.state()
    assert (state['faults'], state['samples'], state['broken_shards']) == (1, 3, 0)


@pytest.mark.parametrize('value', [b'{"caption": 3}', b'{"other": "a"}', b'{"caption": [1]}'])
def test_broken_field(value, tmp_path):
    good = {'1.png': image(3), '1.json': b'{"caption": "a"}'}
    write_tar(tmp_path / 'a.tar', good | {'7.png': image(1), '7.json': value})
    (fault,) = faults_of(stream(web(tmp_path, caption_field='caption', shuffle=1)), 2)
    assert "'caption' of its json file is" in fault


def test_two_files_of_one_name(tmp_path):
    write_tar(tmp_path / 'a.tar', {'1.png': image(3), '1.txt': b'a', '7.PNG': image(1)})
    more = {'7.png': image(2), '7.txt': b'b', '8.png': image(4), '8.txt': b'c'}
    write_tar(tmp_path / 'b', more)
    head = (tmp_path / 'a.tar').read_bytes().rstrip(b'\0')
    head += bytes(-len(head) % 512)
    (tmp_path / 'a.tar').write_bytes(head + (tmp_path / 'b').read_bytes())
    (fault,) = faults_of(stream(web(tmp_path, shuffle=1)), 3)
    assert ', 7: it has two files of one name' in fault


def cut(content):
    """Within a file, between two, in a header, and with a damaged header."""
    return {
        'within a file': content[: 512 * 6 + 512 + 20],
        'between samples': content[: 512 * 12],
        'in a header': content[: 512 * 12 + 100],
        'damaged header': content[: 512 * 12] + b'x' * 512 + content[512 * 13 :],
    }


CUTS = ('within a file', 'between samples', 'in a header', 'damaged header')


@pytest.mark.parametrize('where', CUTS)
def test_truncated_shard(where, tmp_path):
    """Each file takes a header of 512 bytes and a block of 512."""
    (path,) = write_shards(tmp_path, [5])
    content = path.read_bytes()
    path.write_bytes(cut(content)[where])
    complete = 1 if where == 'within a file' else 2
    samples = list(read_shard(str(path)))
    assert [s['__key__'] for s in samples[:-1]] == [f'{i:09d}' for i in range(complete)]
    assert isinstance(samples[-1], Fault)
    assert f'{complete} samples of it were read' in str(samples[-1])
    (fault,) = faults_of(stream(web(tmp_path, shuffle=1)), complete + 1)
    assert fault.startswith(f'{path}: ')
    with pytest.raises(OSError, match='00000.tar'):
        count_samples(str(path))


def test_kinds_of_unreadable_shards(tmp_path):
    (tmp_path / 'no.tar').write_bytes(b'no tar' * 300)
    (tmp_path / 'empty.tar').write_bytes(b'')
    write_tar(tmp_path / 'none.tar', {'__meta__': b'{}'})
    for name, said in (
        ('no', 'no tar file'),
        ('empty', 'cannot be read to its end'),
        ('none', 'it has no sample'),
    ):
        (fault,) = read_shard(str(tmp_path / f'{name}.tar'))
        assert said in str(fault)


def test_shard_that_disappears_is_tried_again(tmp_path, monkeypatch):
    paths = write_shards(tmp_path, [2, 2])
    dataset = web(tmp_path, shuffle=1)
    paths[0].unlink()
    waits = []
    monkeypatch.setattr(reading, 'RETRY_SECONDS', 0.5)
    monkeypatch.setattr(reading.time, 'sleep', waits.append)
    (fault,) = faults_of(stream(dataset), 2)
    assert fault.startswith(f'{paths[0]}: ') and 'tried 4 times' in fault
    assert waits[:3] == [0.5, 1.0, 2.0]


def test_too_large_file_is_not_read(tmp_path, monkeypatch):
    write_shards(tmp_path, [2])
    monkeypatch.setattr(reading, 'LARGEST_FILE', 60)
    dataset = web(tmp_path, max_broken=0)
    with pytest.raises(ValueError, match='its json file says that it has|its png file says'):
        next(stream(dataset))


def test_read_from_a_sample_on(tmp_path):
    (path,) = write_shards(tmp_path, [5])
    packed = tmp_path / 'a.tar.gz'
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        assert [s['__key__'] for s in read_shard(str(file), 3)] == ['000000003', '000000004']
        assert count_samples(str(file)) == 5


def test_index_is_compared(tmp_path):
    write_shards(tmp_path, [3, 2])
    rows = [dict(url='00000.tar', nsamples=3), dict(url='00001.tar', nsamples=4, filesize=7)]
    index = tmp_path / 'index.json'
    index.write_text(json.dumps(dict(wids_version=1, shardlist=rows)))
    dataset = web(tmp_path, shuffle=1)
    assert dataset.samples() == 7
    (fault,) = faults_of(stream(dataset), 6)
    assert fault == f'{tmp_path}/00001.tar: it has 2 samples, its index says 4'
    names = [str(tmp_path / '00001.tar')]
    assert read_index(names) == {names[0]: ShardFacts(4, 7)}
    index.write_text(json.dumps(dict(shardlist=[dict(url='a.tar')])))
    with pytest.raises(ValueError, match="index.json: shard a.tar has no 'nsamples'"):
        web(tmp_path)


# -------------------------------------------------------------------------------- addresses
@pytest.fixture
def server(tmp_path):
    """Serves the folder, each connection that of ``broken.tar`` only half of the file."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def copyfile(self, source, outputfile):
            content = source.read()
            outputfile.write(content[: len(content) // 2] if 'broken' in self.path else content)

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=tmp_path)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{http.server_port}'
        http.shutdown()


def test_http(server, tmp_path):
    write_shards(tmp_path, [3, 2])
    (tmp_path / '00001.tar').rename(tmp_path / 'broken.tar')
    dataset = build(
        shards=[f'{server}/{{00000..00000}}.tar', f'{server}/gone.tar', f'{server}/broken.tar'],
        pipeline=PIPELINE,
        shuffle=1,
        retries=1,
        max_broken=1,
    )
    samples = stream(dataset)
    assert numbers(samples, 3) == [0, 1, 2]
    found = faults_of(samples, 3)  # more than half a file has
    gone, broken = (next(fault for fault in found if name in fault) for name in ('gone', 'broken'))
    assert 'gone.tar' in gone and 'curl ended with exit code 22' in gone
    assert 'tried 2 times' in gone
    assert 'broken.tar: it cannot be read to its end' in broken and 'tried 2 times' in broken


def test_command(tmp_path):
    (path,) = write_shards(tmp_path, [3])
    dataset = build(shards=f'pipe:cat {path}', pipeline=PIPELINE, shuffle=1)
    samples = stream(dataset)
    assert numbers(samples, 6) == [0, 1, 2] * 2 and not samples.take_faults()
    (fault,) = list(read_shard('pipe:false', retries=0))
    assert 'false ended with exit code 1' in str(fault)


# ------------------------------------------------------------------------------------ names
def test_names(tmp_path):
    write_shards(tmp_path / 'a', [1, 1, 1])
    root = str(tmp_path)
    expected = [f'{root}/a/0000{i}.tar' for i in range(3)]
    assert shard_names('a/{00000..00002}.tar', root) == expected
    assert shard_names('a/*.tar', root) == expected
    assert shard_names(['a/00000.tar', 'a/0000[12].tar'], root) == expected
    (tmp_path / 'a' / 'list.txt').write_text('00000.tar\n\n00001.tar\nhttps://x.org/2.tar\n')
    assert shard_names('a/list.txt', root) == [*expected[:2], 'https://x.org/2.tar']
    assert shard_names(f'file://{root}/a/00000.tar') == expected[:1]
    assert missing_shards([*expected, f'{root}/b/1.tar', 'http://x/1.tar']) == [f'{root}/b/1.tar']


@pytest.mark.parametrize(
    'line, said',
    [
        ('pipe:rm -r x', 'list.txt, line 2 is .*commands are run only if the config itself'),
        ('PIPE:rm -r x', 'commands are run only'),
        ('../b.tar', 'leaves the data folder'),
        ('/etc/passwd', 'outside_paths=True'),
        ('s3://bucket/a.tar', 'line 2 has .*"pipe:aws s3 cp'),
    ],
)
def test_strangers_list(line, said, tmp_path):
    (tmp_path / 'list.txt').write_text(f'a.tar\n{line}\n')
    with pytest.raises(ValueError, match=said):
        shard_names('list.txt', str(tmp_path))


@pytest.mark.parametrize(
    'cfg, said',
    [
        (dict(shards='{00000..00009}.tar'), '9 of 10 shards are missing'),
        (dict(shards='x*.tar'), 'no shard matches'),
        (dict(shards='list.txt'), 'no file .*list.txt'),
        (dict(shards=['00000.tar', '0*.tar']), 'is named twice'),
        (dict(shards=[]), 'names no shard'),
        (dict(shards=3), 'must be a path'),
        (dict(shards=''), 'is no path'),
        (dict(shards='ftp5://x/a.tar'), 'webdataset reads'),
        (dict(shards='00000.tar', shuffle=0), 'shuffle=0'),
        (dict(shards='00000.tar', retries=-1), 'retries=-1'),
        (dict(shards='00000.tar', max_broken=2), 'max_broken=2'),
        (dict(shards='00000.tar', texts_per_image=0), 'texts_per_image=0'),
        (dict(shards='00000.tar', index='no.json'), 'no file .*no.json'),
        (dict(shards='00000.tar', captions='x'), "no argument 'captions'"),
    ],
)
def test_wrong_configs(cfg, said, tmp_path):
    write_shards(tmp_path, [1])
    with pytest.raises((ValueError, TypeError, OSError), match=said):
        web(tmp_path, **cfg)


# ---------------------------------------------------------------------------------- the mix
def test_mix_by_weight(tmp_path):
    write_shards(tmp_path / 'a', [9, 9])
    (tmp_path / 'b').mkdir()
    write_tar(tmp_path / 'b' / '0.tar', sample_files(300) | sample_files(301))
    write_json(tmp_path / 'json', 5)
    inner = [dict(type='WebImageTextDataset', shards='*.tar', data_root=str(tmp_path / x),
                  pipeline=PIPELINE, shuffle=3) for x in 'ab']  # fmt: skip
    files = dict(type='WebCaptionDataset', ann_file='captions.json',
                 data_root=str(tmp_path / 'json'), pipeline=PIPELINE)  # fmt: skip
    mix = build('WeightedMixDataset', datasets=[*inner, files], weights=[2, 1, 1])
    samples = stream(mix)
    paths = [next(samples)['data_samples'].img_path for _ in range(400)]
    of = [sum(f'{tmp_path}/{name}/' in path for path in paths) for name in ('a', 'b', 'json')]
    assert sum(of) == 400 and all(abs(n - m) < 45 for n, m in zip(of, (200, 100, 100)))
    assert mix.size_said() == '50% from 2 shards, 25% from 1 shard, 25% from 5 samples'
    # each in its own order, all of it before any is repeated
    own = [path for path in paths if '/a/' in path]
    assert sorted(own[:18]) == sorted(own[18:36]) and len(set(own[:18])) == 18
    one, other = stream(mix, 0, 2), stream(mix, 1, 2)
    first, second = ([next(s)['data_samples'].img_path for _ in range(12)] for s in (one, other))
    assert not {p for p in first if '/a/' in p} & {p for p in second if '/a/' in p}
    with pytest.raises(ValueError, match='weights=.* each of the 1 datasets'):
        build('WeightedMixDataset', datasets=[files], weights=[1, 2])
