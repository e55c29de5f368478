"""Holds a module for each command. Its `command` is called by Click with what was typed, and returns the exit code."""
