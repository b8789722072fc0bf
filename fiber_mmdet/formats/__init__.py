"""Labelled images in the formats of other tools, each read into and written from one record.

A format's module reads a :class:`.labelled.LabelledSet` and writes one.
"""
