"""Plain tutorial-style loops, the yardstick of the benchmarks; each needs only its framework."""
