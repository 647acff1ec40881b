"""Solvers of the moment-matching programme of M4."""
