"""What the benchmarks share; ./dev bench runs bench/*.py, not these."""
