"""Spark: the session, and the dealing out of work."""
