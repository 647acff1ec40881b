"""AHNM: adaptive hard negative mining."""
