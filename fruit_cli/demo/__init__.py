"""What `make demo` delivers and shows."""
