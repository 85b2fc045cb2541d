"""What every backend shares: data, randomness, initial weights, files. Imports no framework."""
