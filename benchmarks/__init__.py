"""Benchmarks: this project against the notebook way and against the engine's own ceiling, side by side in one run."""
