"""Runs many small runs at once, again and again for an hour, and finds out what goes wrong and what grows."""
