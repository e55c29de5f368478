"""A day after many days."""
