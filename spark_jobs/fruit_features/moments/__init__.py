"""Computes the moments of features, keeps them, and merges those of the whole history."""
