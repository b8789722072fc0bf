"""Boxes and phrases: detection and grounding datasets that mmdet lacks."""
