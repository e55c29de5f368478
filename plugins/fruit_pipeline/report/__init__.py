"""What a run did: its record, its receipt, its page and plots."""
