"""What the tools take on their command lines."""

import argparse
from pathlib import Path

import pytest

from command_line import image_argument
from fiber_mmdet.apis import demo_image, demo_prompt


def test_the_packaged_scene_has_an_address():
    assert image_argument('fiber://scene') == Path(demo_image()) and Path(demo_image()).is_file()
    assert 'a red ring' in demo_prompt() and '\n' not in demo_prompt()
    assert image_argument('photos/a.jpg') == Path('photos/a.jpg')


@pytest.mark.parametrize('wrong', ['', ' ', 'fiber://other', 'https://host/a.jpg'])
def test_what_is_no_image(wrong):
    with pytest.raises(argparse.ArgumentTypeError):
        image_argument(wrong)
