"""Compares the features step with its ceiling and with the notebook way."""
