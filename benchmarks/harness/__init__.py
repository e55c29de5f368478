"""What every part of the benchmarks uses."""
