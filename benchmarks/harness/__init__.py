"""Holds what every part of the benchmarks uses."""
