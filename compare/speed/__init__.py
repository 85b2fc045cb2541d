"""How fast: benchmarks against each framework's own loop and the machine's limit."""
