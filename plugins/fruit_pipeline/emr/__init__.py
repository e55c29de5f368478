"""Asks EMR for clusters and steps, and reads what it says of them."""
