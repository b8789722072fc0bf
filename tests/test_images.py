"""Reading images: by path, as PIL images and arrays, and in pipelines, by one rule."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmdet.registry import TRANSFORMS
from PIL import Image

from fiber_mmdet.apis.image_text_loading import ViewReader
from fiber_mmdet.apis.inputs import read_image
from fiber_mmdet.datasets.image_errors import ImageReadError
from fiber_mmdet.images import (
    DEFAULT_LIMIT,
    ImageError,
    decode_image,
    image_endings,
    open_image,
    pixel_limit,
    rgb_pixels,
)

RAMP = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
GREY = (RAMP >> 8).astype(np.uint8)
COLOR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
ALPHA = np.where(np.arange(32) < 16, 0, 255).astype(np.uint8)[None].repeat(24, 0)
STORED = dict(imdecode_backend='pillow', color_type='color_ignore_orientation')  # of our configs


def load(path, **options):
    """RGB pixels as the pipelines of datasets read them."""
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', **{**STORED, **options}))
    return loader(dict(img_path=str(path)))['img'][..., ::-1]


def grey(pixels):
    return np.stack([pixels] * 3, axis=-1)


def pil(mode):
    """An image of a mode, and its pixels in RGB."""
    color, paletted = Image.fromarray(COLOR), Image.fromarray(COLOR).quantize(64)
    made = {
        'L': (Image.fromarray(GREY), grey(GREY)),
        'RGB': (color, COLOR),
        'RGBA': (Image.fromarray(np.dstack([COLOR, ALPHA])), COLOR),
        'LA': (Image.merge('LA', [Image.fromarray(GREY), Image.fromarray(ALPHA)]), grey(GREY)),
        'P': (paletted, np.array(paletted.convert('RGB'))),
        '1': (Image.fromarray(GREY > 127), grey(np.where(GREY > 127, 255, 0).astype(np.uint8))),
        'CMYK': (color.convert('CMYK'), COLOR),
        'I;16': (Image.fromarray(RAMP), grey(GREY)),
        'I': (Image.fromarray(RAMP.astype(np.int32)), grey(GREY)),
        'F': (Image.fromarray(RAMP.astype(np.float32)), grey(GREY)),
    }
    return made[mode]


@pytest.mark.parametrize(
    'mode, ending, options',
    [
        ('L', 'png', {}),
        ('L', 'png', dict(transparency=100)),
        ('RGB', 'png', {}),
        ('RGBA', 'png', {}),
        ('RGBA', 'webp', dict(lossless=True, exact=True)),
        ('LA', 'png', {}),
        ('P', 'png', {}),
        ('P', 'png', dict(transparency=3)),
        ('P', 'png', dict(transparency=bytes(range(64)))),
        ('P', 'gif', {}),
        ('P', 'bmp', {}),
        ('1', 'png', {}),
        ('1', 'tiff', {}),
        ('CMYK', 'tiff', {}),
        ('I;16', 'png', {}),
        ('I;16', 'tiff', {}),
        ('I', 'tiff', {}),
        ('F', 'tiff', {}),
        ('RGB', 'tga', {}),
    ],
)
def test_a_file_is_read_alike_everywhere(tmp_path, mode, ending, options):
    image, expected = pil(mode)
    path = tmp_path / f'image.{ending}'
    image.save(path, **options)
    for pixels in (
        read_image(path),
        read_image(str(path)),
        read_image(Image.open(path)),
        read_image(image),
        load(path),
        load(path, imdecode_backend='cv2', color_type='color'),
    ):
        assert pixels.dtype == np.uint8 and pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).max() <= (1 if mode == 'CMYK' else 0)


@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'bmp', 'tiff', 'ppm', 'avif', 'jp2'])
@pytest.mark.parametrize('stored', [COLOR, GREY, COLOR[:7, :5]])
def test_eight_bits_stay_as_mmcv_reads_them(tmp_path, stored, ending):
    path = tmp_path / f'image.{ending}'
    Image.fromarray(stored).save(path)
    if ending not in ('avif', 'jp2'):  # which not every OpenCV reads
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])
    theirs = MMCVLoadImageFromFile(**STORED)(dict(img_path=str(path)))
    ours = TRANSFORMS.build(dict(type='LoadImageFromFile', **STORED))(dict(img_path=str(path)))
    np.testing.assert_array_equal(ours['img'], theirs['img'])
    assert {key: ours[key] for key in theirs if key != 'img'} == {
        key: theirs[key] for key in theirs if key != 'img'
    }


@pytest.mark.parametrize('ending', ['png', 'tiff', 'pgm'])
def test_sixteen_bits_are_the_upper_eight(tmp_path, ending):
    path = tmp_path / f'image.{ending}'
    path.write_bytes(cv2.imencode(f'.{ending}', RAMP)[1].tobytes())
    for pixels in (read_image(path), load(path), read_image(Image.open(path)), read_image(RAMP)):
        np.testing.assert_array_equal(pixels, grey(GREY))
    dark = tmp_path / f'dark.{ending}'
    dark.write_bytes(cv2.imencode(f'.{ending}', np.full((8, 8), 200, np.uint16))[1].tobytes())
    assert read_image(dark).max() == load(dark).max() == 0  # the file says that 200 is nearly black


@pytest.mark.parametrize('scale', [1, 255, 65535])
def test_values_without_a_range(scale):
    values = np.linspace(0, scale, 256).reshape(16, 16).astype(np.float32)
    expected = np.arange(256).reshape(16, 16)
    assert np.abs(rgb_pixels(Image.fromarray(values))[..., 0] - expected.astype(int)).max() <= 1
    if scale > 1:
        pixels = rgb_pixels(Image.fromarray(values.astype(np.int32)))
        assert np.abs(pixels[..., 0] - expected.astype(int)).max() <= 1


@pytest.mark.parametrize('low, high', [(-1, 100), (0, 70000), (0, np.nan), (0, np.inf)])
def test_values_of_an_unknown_range_are_refused(tmp_path, low, high):
    path = tmp_path / 'depth.tiff'
    Image.fromarray(np.array([[low, high]], np.float32)).save(path)
    for read in (read_image, load, lambda path: read_image(Image.open(path))):
        with pytest.raises(ImageError, match='depth.tiff.* values from .*Scale them'):
            read(path)


@pytest.mark.parametrize('mode', ['I;16', 'I', 'F'])
def test_eight_bits_converted_to_more_stay_as_they_are(mode):
    for image in (Image.fromarray(GREY), Image.fromarray(GREY).crop((2, 2, 30, 20))):
        np.testing.assert_array_equal(rgb_pixels(image.convert(mode)), rgb_pixels(image))


# ------------------------------------------------------------------- EXIF
def turned(path, orientation, **options):
    """A file whose upper left quarter is bright as stored."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)


@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'avif'])
@pytest.mark.parametrize(
    'orientation, shape, corner',
    [(1, (32, 48), (0, 0)), (3, (32, 48), (-1, -1)), (6, (48, 32), (0, -1))],
)
def test_orientation(tmp_path, ending, orientation, shape, corner):
    path = tmp_path / f'phone.{ending}'
    turned(path, orientation)
    upright = [read_image(path), read_image(Image.open(path)), load(path, color_type='color')]
    for pixels in upright:
        assert pixels.shape[:2] == shape and pixels[corner].min() > 200
    stored = load(path)
    assert stored.shape[:2] == (32, 48) and stored[0, 0].min() > 200
    assert rgb_pixels(Image.open(path), upright=False).shape[:2] == (32, 48)
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', **STORED))
    assert loader(dict(img_path=str(path)))['img_upright'] is False


# ----------------------------------------------------------------- damage
@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'the file is empty'),
        (b'<html>404 not found</html>', 'damaged, or of another kind$'),
        ('half', r'damaged, or of another kind \(image file is truncated'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'of another kind$'),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, content, message):
    path = tmp_path / 'photo.jpg'
    if content == 'half':
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)).save(
            buffer, 'JPEG'
        )
        content = buffer.getvalue()[:2000]
    path.write_bytes(content)
    for read in (read_image, load):
        with pytest.raises(ImageError, match=f'photo.jpg.*cannot be read as an image: .*{message}'):
            read(path)
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', ignore_empty=True))
    assert loader(dict(img_path=str(path))) is None


def test_no_program_is_read():
    assert {'.jpg', '.jfif', '.gif', '.avif', '.jp2', '.tif'} <= image_endings()
    assert not {'.eps', '.ps', '.pdf', '.wmf', '.mpg'} & image_endings()


# ------------------------------------------------------------------- bombs
def bomb(width, height):
    """A png that says how large it is, and ends."""
    content = b'\x89PNG\r\n\x1a\n'
    size = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    for name, data in ((b'IHDR', size), (b'IDAT', zlib.compress(b'\0' * 1000))):
        check = zlib.crc32(name + data)
        content += struct.pack('>I', len(data)) + name + data + struct.pack('>I', check)
    return content


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / 'bomb.png'
    path.write_bytes(bomb(30000, 30000))
    assert pixel_limit() == DEFAULT_LIMIT
    for read in (read_image, load):
        with pytest.raises(ImageError, match='bomb.png.*900000000 pixels.*FIBER_MAX_PIXELS'):
            read(path)
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', **STORED))
    each = TRANSFORMS.build(dict(type='EachView', transforms=[loader]))
    with pytest.raises(ImageReadError, match='bomb.png.*FIBER_MAX_PIXELS'):
        each(dict(views=dict(image=dict(img_path=str(path)))))
    monkeypatch.setenv('FIBER_MAX_PIXELS', '1000000000')
    assert open_image(bomb(30000, 30000), 'trusted').size == (30000, 30000)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_the_limit_is_an_option(monkeypatch):
    buffer = io.BytesIO()
    Image.fromarray(COLOR).save(buffer, 'PNG')
    monkeypatch.setenv('FIBER_MAX_PIXELS', str(24 * 32))
    assert decode_image(buffer.getvalue(), 'a').shape == (24, 32, 3)
    monkeypatch.setenv('FIBER_MAX_PIXELS', str(24 * 32 - 1))
    for read in (
        lambda: decode_image(buffer.getvalue(), 'a'),
        lambda: read_image(Image.fromarray(COLOR)),
    ):
        with pytest.raises(ImageError, match='32x24 pixels are more than the limit of 767'):
            read()
    monkeypatch.setenv('FIBER_MAX_PIXELS', 'many')
    with pytest.raises(ImageError, match="FIBER_MAX_PIXELS='many'"):
        pixel_limit()


def test_the_views_of_image_text_models_are_read_alike(tmp_path):
    steps = [dict(type='LoadImageFromFile', **STORED)]
    from mmengine.config import Config

    reader = ViewReader(Config(dict(test_pipeline=[dict(type='EachView', transforms=steps)])))
    path = tmp_path / 'grey16.png'
    Image.fromarray(RAMP).save(path)
    for image in (path, str(path), Image.open(path), RAMP):
        np.testing.assert_array_equal(reader(image).permute(1, 2, 0).numpy(), grey(GREY))
    path.write_bytes(b'no image')
    with pytest.raises(ImageError, match='grey16.png'):
        reader(path)
