"""Pictures: results, samples, attention, and sheets of answers."""
