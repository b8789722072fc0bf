"""Miniatures of the public datasets on disk, file by file as these are published.

The images are generated scenes, so that boxes and captions are true. Names, ids, fields and folders
are those of the originals, and so are their oddities: gaps in ids, crowds, boxes without size or
beyond the border, images without boxes, grey and rotated images, equal phrases at two places,
letters beyond ASCII.
"""

from pathlib import Path

from .captions import write_karpathy
from .coco import write_coco, write_coco128, write_coco_o, write_custom
from .described_objects import write_d3
from .flickr30k import write_flickr30k
from .lvis import write_lvis
from .mdetr import write_mixed, write_refcoco
from .nlvr2 import write_nlvr2
from .objects365 import write_objects365_tsv, write_objects365_v1, write_objects365_v2
from .odinw import write_odinw
from .odvg import write_odvg
from .omnilabel import write_omnilabel
from .visual_genome import write_visual_genome
from .vqav2 import write_vqav2
from .web_captions import write_web_captions

__all__ = ['write_all', 'write_coco128']


def write_all(root: str | Path) -> Path:
    """Fill ``root/data`` with all of them.

    Args:
        root: a folder to work in, created if needed.

    Returns:
        The folder ``root/data``.
    """
    data = Path(root) / 'data'
    write_coco(data / 'coco')
    write_lvis(data / 'coco')
    write_flickr30k(data / 'flickr30k', data / 'mdetr_annotations')
    write_mixed(data)
    write_refcoco(data)
    write_objects365_v1(data / 'objects365v1')
    write_objects365_v2(data / 'objects365v2')
    write_objects365_tsv(data / 'objects365_tsv')
    write_odvg(data)
    write_odinw(data / 'odinw')
    write_d3(data / 'd3')
    write_omnilabel(data / 'omnilabel')
    write_coco_o(data / 'coco_o')
    write_custom(data / 'custom')
    write_karpathy(data / 'karpathy', data / 'coco')
    write_visual_genome(data / 'visual_genome')
    write_web_captions(data / 'sbu', data / 'conceptual_captions')
    write_vqav2(data / 'vqav2', data / 'coco')
    write_nlvr2(data / 'nlvr2')
    return data
