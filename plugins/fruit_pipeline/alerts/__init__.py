"""Tells people of failed, late and unusual runs."""
