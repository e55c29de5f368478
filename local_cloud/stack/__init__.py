"""Runs the processes of a local stack, and gives them ports, secrets and a Java."""
