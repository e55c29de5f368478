"""Moments of features, and their history."""
