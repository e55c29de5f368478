"""Many small runs at once, again and again for an hour: what goes wrong then, and what grows."""
