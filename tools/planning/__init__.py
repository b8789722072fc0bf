"""What a training will need: memory, operations and time, from its config alone."""
