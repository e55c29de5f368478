"""Reads and writes the lake: objects of its store, its files, and the commit of a date."""
