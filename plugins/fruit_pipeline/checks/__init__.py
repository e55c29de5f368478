"""Checks whether what the steps wrote is there, and whether it is right."""
