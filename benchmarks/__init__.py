"""How fast Atlas is: every figure a ratio against a limit measured in the same run. `python -m benchmarks` runs it."""
