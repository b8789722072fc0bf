"""The comparisons of docs/claims.md: which trainings, how they are run, and their tables."""
