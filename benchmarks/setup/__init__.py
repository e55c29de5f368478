"""Measures how long a newcomer waits for the first features."""
