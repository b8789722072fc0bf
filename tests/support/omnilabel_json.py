"""Small annotation files of OmniLabel for tests."""

import json


def write_omnilabel(path, texts, boxes=(), images=None, change=lambda content: None):
    """The path of a file.

    Args:
        path: of the file.
        texts: {id: (text, image ids)}; a text in capitals is a category.
        boxes: (image, xyxy, description ids) or with a fourth entry, whether it is a crowd.
        images: ids; those of the texts by default.
        change: changes the content in place.
    """
    if images is None:
        images = sorted({image for _, of_text in texts.values() for image in of_text})
    content = dict(
        info=dict(name='made', version='0'),
        images=[dict(id=image, file_name=f'{image}.jpg') for image in images],
        descriptions=[
            dict(
                id=number,
                text=text,
                image_ids=list(of_text),
                anno_info=dict(type='object_category' if text.isupper() else 'object_description'),
            )
            for number, (text, of_text) in texts.items()
        ],
        annotations=[
            dict(
                id=number,
                image_id=image,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                description_ids=list(ids),
                **(dict(iscrowd=int(crowd[0])) if crowd else {}),
            )
            for number, (image, (x1, y1, x2, y2), ids, *crowd) in enumerate(boxes)
        ],
    )
    change(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)
