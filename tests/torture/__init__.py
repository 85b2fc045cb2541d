"""Everything that may go wrong, tried on purpose and counted: `make torture`."""
