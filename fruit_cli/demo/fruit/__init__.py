"""Draws the pictures of fruit that the demo delivers."""
