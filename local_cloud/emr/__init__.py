"""Offers EMR's API on this machine."""
