"""Draws fruit."""
