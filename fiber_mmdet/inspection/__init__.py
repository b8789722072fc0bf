"""Looking at data before training: what is missing or wrong, and what the model will see."""
