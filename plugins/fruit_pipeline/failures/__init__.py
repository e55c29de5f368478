"""Says what a failure means, and what is to be done."""
