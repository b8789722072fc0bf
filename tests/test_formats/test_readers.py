"""Files of other tools, as they come: layouts, conventions, and what is wrong with a file."""

import json

import pytest
from PIL import Image

from fiber_mmdet.formats.image_folder import ImageFolder
from fiber_mmdet.formats.kinds import FORMATS, recognise
from fiber_mmdet.formats.labelled import LabelledBox, LabelledImage, LabelledSet


@pytest.fixture
def folder(tmp_path):
    """One image of 100 x 50 pixels."""
    Image.new('RGB', (100, 50)).save(tmp_path / 'a.png')
    return tmp_path


def read(kind, source, images=None):
    return FORMATS[kind].read(source, ImageFolder(images or source))


def only(labelled):
    (image,) = labelled.images
    return [(box.name, tuple(round(side, 6) for side in box.corners)) for box in image.boxes]


# ------------------------------------------------------------------------------- VOC
def voc(*objects, size='<size><width>100</width><height>50</height></size>', name='a.png'):
    def lines():
        for words, (x1, y1, x2, y2), *more in objects:
            sides = f'<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>'
            yield f'<object><name>{words}</name>{"".join(more)}'
            yield f'<bndbox>{sides}</bndbox></object>'

    body = '\n'.join(lines())
    return f'<annotation>\n<filename>{name}</filename>\n{size}\n{body}\n</annotation>'


def test_voc_counts_from_1_unless_a_corner_is_0(folder):
    (folder / 'a.xml').write_text(voc(('cat', (1, 1, 100, 50))))
    assert only(read('voc', folder)) == [('cat', (0, 0, 100, 50))]
    (folder / 'a.xml').write_text(voc(('cat', (0, 3, 100, 50))))
    found = read('voc', folder)
    assert only(found) == [('cat', (0, 3, 100, 50))] and 'counted from 0' in found.notes[0]


def test_voc_difficult_objects_are_crowds_and_parts_of_objects_are_no_objects(folder):
    part = '<part><name>head</name><bndbox/></part>'
    (folder / 'a.xml').write_text(
        voc(('cat', (5, 5, 9, 9), '<difficult>1</difficult>', part), ('dog', (1, 1, 2, 2)))
    )
    (image,) = read('voc', folder).images
    assert [(box.name, box.crowd) for box in image.boxes] == [('cat', True), ('dog', False)]


def test_voc_finds_images_by_the_name_of_the_xml_and_takes_their_size(folder):
    (folder / 'Annotations').mkdir()
    (folder / 'Annotations/a.xml').write_text(voc(name='C:\\photos\\old name.jpg', size=''))
    Image.new('RGB', (8, 8)).save(folder / 'b.png')
    found = read('voc', folder)
    assert (found.images[0].file, found.images[0].width) == ('a.png', 100)
    assert any('1 image without an xml file (b.png)' in note for note in found.notes)


def test_a_size_that_the_image_does_not_have_is_said(folder):
    (folder / 'a.xml').write_text(voc(size='<size><width>50</width><height>100</height></size>'))
    assert 'a.png (100x50, annotated 50x100)' in read('voc', folder).notes[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (100, 50)).save(folder / 'a.png', exif=exif)
    assert 'stored on their side: 1 image (a.png)' in read('voc', folder).notes[0]


def test_voc_lists_tell_folders_and_names_with_blanks_apart(folder):
    files = {'a/1': 'train', 'b/1': 'val', 'my photo': 'val', 'other': ''}
    for file in files:
        for place, ending in (('JPEGImages', 'png'), ('Annotations', 'xml')):
            path = folder / place / f'{file}.{ending}'
            path.parent.mkdir(parents=True, exist_ok=True)
            if ending == 'png':
                Image.new('RGB', (100, 50)).save(path)
            else:
                path.write_text(voc(('cat', (1, 1, 9, 9)), name=f'{file}.png'))
    (folder / 'ImageSets/Main').mkdir(parents=True)
    for part in ('train', 'val'):
        lines = [file for file, wanted in files.items() if wanted == part]
        (folder / f'ImageSets/Main/{part}.txt').write_text('\n'.join(lines))
    found = read('voc', folder)
    said = {image.file[len('JPEGImages/') : -len('.png')]: image.part for image in found.images}
    assert said == files
    assert any('in no list of' in note and 'other.png' in note for note in found.notes)


@pytest.mark.parametrize(
    'text, said',
    [
        (voc(('cat', (5, 1, 2, 9))), "line 5: <bndbox> of 'cat' is 5, 1, 2, 9"),
        (voc(('cat', ('x', 1, 2, 9))), "line 5: <xmin> is 'x': it must be a number"),
        (voc(('cat', ('inf', 1, 2, 9))), "line 5: <xmin> is 'inf'"),
        (voc((' ', (1, 1, 2, 9))), 'line 4: <name> is empty'),
        ('<annotation><object/></annotation>', 'line 1: <object> has no <name>'),
        ('<annotation><object>', 'line 1: it is not an xml file'),
        ('<html/>', 'begins with <html>, not <annotation>'),
        (
            '<!DOCTYPE a [<!ENTITY x "yy">]>\n<annotation><filename>&x;</filename></annotation>',
            "declares the entity 'x'",
        ),
        ('<a>' * 60, 'nested more than 50 deep'),
    ],
)
def test_damaged_voc_files_are_named_with_the_line(folder, text, said):
    (folder / 'a.xml').write_text(text)
    with pytest.raises(ValueError) as error:
        read('voc', folder)
    assert said in str(error.value) and 'a.xml' in str(error.value)


# ------------------------------------------------------------------------------ YOLO
@pytest.fixture
def yolo(tmp_path):
    """The layout of Ultralytics, with one image in each of two parts."""
    for part in ('train', 'valid'):
        (tmp_path / f'images/{part}').mkdir(parents=True)
        (tmp_path / f'labels/{part}').mkdir(parents=True)
        Image.new('RGB', (100, 50)).save(tmp_path / f'images/{part}/{part}.jpg')
    (tmp_path / 'data.yaml').write_text('names: {0: cat, 1: 7}\ntrain: ../images/train\nval: x')
    (tmp_path / 'labels/train/train.txt').write_text('1 0.5 0.5 0.2 0.4\n\n')
    return tmp_path


def test_yolo_lines_are_boxes_scores_or_polygons(yolo):
    (yolo / 'labels/train/train.txt').write_text(
        '1 0.5 0.5 0.2 0.4\n0 0.5 0.5 1 1 0.25\n0 0.1 0.2 0.3 0.2 0.3 0.6\n'
    )
    (yolo / 'data.yaml').write_text('names: {0: cat, 1: 7}')
    found = read('yolo', yolo)
    image = found.images[0]
    assert (image.part, [box.score for box in image.boxes]) == ('train', [None, 0.25, None])
    assert [box.name for box in image.boxes] == ['7', 'cat', 'cat']
    assert image.boxes[0].corners == pytest.approx((40, 15, 60, 35))
    assert image.boxes[2].corners == pytest.approx((10, 10, 30, 30))
    assert found.images[1].part == 'val' and found.images[1].boxes == ()
    assert (
        'polygons, the boxes around them are taken: 1' in found.notes[0]
        and 'valid.jpg' in found.notes[1]
    )


def test_yolo_parts_are_those_of_the_yaml(yolo):
    found = read('yolo', yolo)  # val names a folder that is not there
    assert [image.part for image in found.images] == ['train']
    assert '1 image in no part' in found.notes[-1]
    (yolo / 'list.txt').write_text('/home/somebody/set/images/valid/valid.jpg\n')
    (yolo / 'data.yaml').write_text('names: [a, b]\ntrain: images/train\ntest: list.txt')
    assert {i.path.stem: i.part for i in read('yolo', yolo).images} == {
        'train': 'train',
        'valid': 'test',
    }


def test_an_image_that_a_list_of_yolo_names_must_be_there(yolo):
    (yolo / 'list.txt').write_text('images/valid/valid.jpg\nimages/valid/lost.jpg\n')
    (yolo / 'data.yaml').write_text('names: [a, b]\ntrain: images/train\ntest: list.txt')
    with pytest.raises(FileNotFoundError, match=r'1 of 3 .*list.txt, line 2: .*lost.jpg'):
        read('yolo', yolo)


def test_a_list_that_yolo_names_must_be_there(yolo):
    (yolo / 'data.yaml').write_text('names: [a, b]\ntrain: images/train\nval: /set/val.txt')
    with pytest.raises(FileNotFoundError, match=r"data.yaml has val '/set/val.txt'"):
        read('yolo', yolo)


def test_yolo_names_may_be_in_a_list_beside_the_labels(folder):
    (folder / 'a.txt').write_text('1 0.5 0.5 1 1')
    (folder / 'classes.txt').write_text('cat\nhard hat\n')
    assert only(read('yolo', folder)) == [('hard hat', (0, 0, 100, 50))]
    (folder / 'classes.txt').write_text('cat\n\nhard hat\n')
    with pytest.raises(ValueError, match=r'classes\.txt, line 2 is blank'):
        read('yolo', folder)


@pytest.mark.parametrize(
    'line, said',
    [
        ('0 0.5 0.5', 'has 3 numbers'),
        ('2 0.5 0.5 1 1', 'from 0 to 1'),
        ('0.5 0.5 0.5 1 1', 'has the class 0.5'),
        ('cat 0.5 0.5 1 1', 'must be numbers'),
        ('inf 0.5 0.5 1 1', 'has the class inf'),
        ('0 0.5 0.5 1 1 nan', 'fractions of the image'),
        ('0 50 20 10 10', 'fractions of the image'),
        ('0 nan 0.5 1 1', 'fractions of the image'),
        ('0 0.5 0.5 -0.1 1', 'negative'),
    ],
)
def test_damaged_yolo_lines_are_named(yolo, line, said):
    (yolo / 'labels/train/train.txt').write_text(f'0 0.5 0.5 0.1 0.1\n{line}\n')
    with pytest.raises(ValueError) as error:
        read('yolo', yolo)
    assert said in str(error.value) and 'train.txt, line 2' in str(error.value)


@pytest.mark.parametrize(
    'yaml, said',
    [
        ('train: images/train', "has no 'names'"),
        ('names: {0: a, 2: b}', 'without a gap'),
        ('names: cat', 'must be a list'),
        ('names: [a\n', 'is not a yaml file'),
        ('names: [a, b]\ntrain: 5', 'has train 5'),
    ],
)
def test_damaged_yaml_is_named(yolo, yaml, said):
    (yolo / 'data.yaml').write_text(yaml)
    with pytest.raises(ValueError) as error:
        read('yolo', yolo)
    assert said in str(error.value) and 'data.yaml' in str(error.value)


# ---------------------------------------------------------------------- Label Studio
def mark(x=10, y=20, width=30, height=40, rotation=0, names=('cat',), **more):
    value = dict(x=x, y=y, width=width, height=height, rotation=rotation)
    value['rectanglelabels'] = list(names)
    return dict(original_width=100, original_height=50, type='rectanglelabels', value=value, **more)


def task(*results, image='/data/upload/1/0123abcd-a.png', **more):
    return dict(
        dict(id=5, data=dict(image=image), annotations=[dict(result=list(results))]), **more
    )


def studio(folder, *tasks):
    (folder / 'export.json').write_text(json.dumps(tasks))
    return read('labelstudio', folder / 'export.json', folder)


def test_label_studio_counts_in_percent_and_adds_to_names_of_uploads(folder):
    assert only(studio(folder, task(mark()))) == [('cat', (10, 10, 40, 30))]
    local = task(mark(), image='/data/local-files/?d=photos%2Fa.png')
    assert only(studio(folder, local)) == [('cat', (10, 10, 40, 30))]


def test_label_studio_takes_the_first_annotation_that_was_not_skipped(folder):
    one = task()
    one['annotations'] = [
        dict(result=[mark(names=['skipped'])], was_cancelled=True),
        dict(result=[mark(names=['cat', 'pet'])]),
        dict(result=[mark(names=['second'])]),
    ]
    found = studio(folder, one, dict(data=dict(image='b.png'), annotations=[]))
    assert [name for name, _ in only(found)] == ['cat', 'pet']
    assert '1 task without an annotation (b.png)' in found.notes[-1]


def test_label_studio_rotated_rectangles_and_other_kinds_are_counted(folder):
    choice = dict(type='choices', value=dict(choices=['x']))
    found = studio(folder, task(mark(50, 0, 20, 20, rotation=90), choice))
    # about its upper left corner: 20 wide and 10 high becomes 10 wide, to the left, and 20 high
    assert only(found) == [('cat', (40, 0, 50, 20))]
    assert 'rotated: 1 box' in found.notes[0] and '1 choices' in found.notes[1]


def test_label_studio_json_min(folder):
    one = dict(mark()['value'], original_width=100, original_height=50)
    found = studio(folder, dict(id=1, image='/data/upload/1/0123abcd-a.png', label=[one]))
    assert only(found) == [('cat', (10, 10, 40, 30))]


def test_label_studio_gets_boxes_with_scores_as_predictions(folder):
    box = LabelledBox('cat', (10, 10, 40, 30), 0.5)
    image = LabelledImage(folder / 'a.png', 'a b.png', 100, 50, (box,), 'train')
    FORMATS['labelstudio'].write(LabelledSet([image], ['cat']), folder / 'out')
    (found,) = json.loads((folder / 'out/train.json').read_text())
    assert found['data'] == {'image': '/data/local-files/?d=images/a%20b.png'}
    assert found['predictions'][0]['result'][0]['score'] == 0.5 and 'annotations' not in found


@pytest.mark.parametrize(
    'tasks, said',
    [
        ([task(mark(x='a'))], 'result 0, value has x'),
        ([task(mark(names=[5]))], 'has rectanglelabels [5]'),
        ([task(mark(width=-1))], 'negative'),
        ([task(mark(image_rotation=90))], 'turned by 90 degrees'),
        ([task(data=5)], 'task 5 has data 5'),
        ([dict(data=dict(text='a'), annotations=[dict(result=[])])], "no 'image'"),
        ([3], 'task 0 is 3'),
    ],
)
def test_damaged_label_studio_tasks_are_named(folder, tasks, said):
    with pytest.raises(ValueError) as error:
        studio(folder, *tasks)
    assert said in str(error.value) and 'export.json' in str(error.value)


# ------------------------------------------------------------------------------ CVAT
def cvat(folder, body, labels='<label><name>cat</name></label>'):
    head = f'<annotations><meta><job><labels>{labels}</labels></job></meta>'
    (folder / 'annotations.xml').write_text(f'{head}\n{body}\n</annotations>')
    return read('cvat', folder)


IMAGE = '<image id="0" name="a.png" subset="Validation" width="100" height="50">'
BOX = '<box label="cat" xtl="10.5" ytl="1" xbr="20" ybr="{}" {}/>'


def test_cvat_boxes_parts_and_rotation(folder):
    found = cvat(folder, IMAGE + BOX.format(11, '') + '<polygon points="1,1"/></image>')
    assert only(found) == [('cat', (10.5, 1, 20, 11))] and found.images[0].part == 'val'
    assert '1 polygon' in found.notes[0]
    turned = cvat(folder, IMAGE + BOX.format(11, 'rotation="90"') + '</image>')
    # about its centre
    assert only(turned) == [('cat', (10.25, 1.25, 20.25, 10.75))]


@pytest.mark.parametrize(
    'body, said',
    [
        (f'{IMAGE}\n{BOX.format(0, "")}</image>', 'line 3: the box of'),
        (f'{IMAGE}<box label="cat"/></image>', "line 2: <box> has no attribute 'xtl'"),
        (f'{IMAGE}{BOX.format("b", "")}</image>', "line 2: 'ybr' of <box> is 'b'"),
        (f'{IMAGE}{BOX.replace("cat", "dog").format(9, "")}</image>', "label 'dog'"),
        (f'{IMAGE.replace("Validation", "../../val")}</image>', "is '../../val'"),
        ('<track/>', '<track> belongs to a video'),
    ],
)
def test_damaged_cvat_files_are_named_with_the_line(folder, body, said):
    with pytest.raises(ValueError) as error:
        cvat(folder, body)
    assert said in str(error.value) and 'annotations.xml' in str(error.value)


# ------------------------------------------------------------------------------ json
def test_a_score_of_coco_is_a_number(folder):
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 5, 5], score='0.9')
    content = dict(
        images=[dict(id=1, file_name='a.png', width=100, height=50)],
        annotations=[box],
        categories=[dict(id=1, name='cat')],
    )
    (folder / 'all.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match="all.json: annotation 1 has score '0.9'"):
        read('coco', folder)
    box['score'] = 0.9
    (folder / 'all.json').write_text(json.dumps(content))
    assert read('coco', folder).images[0].boxes[0].score == 0.9


def test_tasks_of_label_studio_may_be_in_a_folder_annotations(folder):
    for part in ('train', 'val'):
        path = folder / 'annotations' / f'{part}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps([task(mark(), image='a.png')]))
    assert recognise(folder) == 'labelstudio'
    assert [image.part for image in read('labelstudio', folder).images] == ['train', 'val']


# ------------------------------------------------------------------- images of a set
def test_two_images_of_one_name_are_told_apart_by_the_path_or_refused(tmp_path):
    for place in ('left/a.png', 'right/a.png'):
        (tmp_path / place).parent.mkdir()
        Image.new('RGB', (4, 4)).save(tmp_path / place)
    images = ImageFolder(tmp_path)
    assert images.find('/home/me/right/a.png', 'x') == 'right/a.png'
    with pytest.raises(ValueError, match="x names the image 'a.png', which could be left/a.png"):
        images.find('a.png', 'x')
