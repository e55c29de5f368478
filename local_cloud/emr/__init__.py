"""EMR's API."""
