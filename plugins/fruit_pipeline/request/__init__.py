"""Reads what is asked of a run: its params, its schedule, the events that start it, and what all of them come to."""
