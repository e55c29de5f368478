"""Tells what a run did: in its record, its receipt, its page and plots."""
