"""Metrics: one kind of task a module."""
