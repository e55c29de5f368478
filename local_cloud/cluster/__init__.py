"""Runs the bootstrap actions and steps of a cluster on this machine."""
