"""Prepares what `make demo` delivers, and shows its results."""
