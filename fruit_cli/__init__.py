"""What a person types: deliver, publish, run, backfill, demo, up, down. The make targets call it."""
