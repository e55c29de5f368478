"""Where the time of a features step goes."""
