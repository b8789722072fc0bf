"""Labelled images in the formats of other tools: COCO, Pascal VOC, YOLO, Label Studio, CVAT.

Each format's module reads a :class:`.labelled.LabelledSet` and writes one; ``kinds.py`` lists them
and recognises files, ``conversion.py`` divides a set and writes it with its images.

Why not ``supervision``, which reads and writes VOC and YOLO, too (looked at: version 0.31): it has
neither Label Studio nor CVAT; an image without an annotation file becomes an image without an
object, silently, also for VOC; it decodes every image and keeps no size; VOC's difficult objects
and YOLO's scores are lost; paths, parts of a set and subfolders are not kept; and errors do not
name the file and line. Results of a model are handed to it by ``GroundingResult`` instead.
"""
