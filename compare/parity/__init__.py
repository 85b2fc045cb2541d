"""The parity ladder: every engine against every other, rung by rung."""
