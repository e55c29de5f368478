"""Which lake a command writes to, and what it puts there."""
