"""Measures the plain way against ours; see docs/performance.md."""
