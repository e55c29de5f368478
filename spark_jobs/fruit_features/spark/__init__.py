"""Starts the Spark session, and deals out work."""
