"""How good: distances between drawn and real digits."""
