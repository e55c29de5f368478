"""Names what may make a step fail, and says how both sides tell of it."""
