"""Runs the backends as processes of their own and compares what they write."""
