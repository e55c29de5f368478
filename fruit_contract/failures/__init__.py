"""What may make a step fail, and how both sides tell of it."""
