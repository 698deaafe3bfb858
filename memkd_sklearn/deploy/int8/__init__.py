"""Twelve-bit weights and a step in integers only."""
