"""Starts the Spark session, and deals out work to it."""
