"""Telling people: of failed, late and unusual runs."""
