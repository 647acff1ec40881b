"""Layouts: the official formats of data sets, one module each."""
