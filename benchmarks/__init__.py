"""Measures this project side by side with the notebook way, with other engines, and with the engine's own ceiling."""
