"""Looking at data before a training does: what is missing or wrong, and what the model will see."""
