"""Labels tables of any size as counted cells."""
