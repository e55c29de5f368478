"""Measures a day's run after many days of history."""
