"""The engines side by side."""
