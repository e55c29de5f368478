"""Compares the engines side by side."""
