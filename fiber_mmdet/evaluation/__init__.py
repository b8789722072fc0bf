"""Metrics: only what mmdet lacks."""
from .phrase_recall import PhraseRecall

__all__ = ['PhraseRecall']
