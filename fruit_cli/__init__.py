"""Holds the commands that a person types: deliver, publish, run, backfill, demo, up and down. The make targets call
them.
"""
