"""Shows where the time of a features step goes."""
