"""Says which lake a command works on, and puts image batches there."""
