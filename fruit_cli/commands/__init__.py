"""One module a command: `command`, which Click calls with what was typed, and which returns the exit code."""
