"""What a command says when it can't do its work."""

from __future__ import annotations


class CommandError(Exception):
    """Ends a command with exit code 1. The message says what happened, to what, and what to do."""
