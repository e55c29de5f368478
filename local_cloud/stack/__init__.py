"""The processes of a local stack: supervisor, state, ports, secrets, Java."""
