"""Drawings for people: detections, samples of datasets, attention, and sheets of predictions.

Every drawing is a (H, W, 3) uint8 RGB array, made from arrays and plain values.
"""
