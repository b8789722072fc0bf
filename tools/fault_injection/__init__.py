"""Faults put into real jobs, and what became of the jobs; see docs/reliability.md."""
