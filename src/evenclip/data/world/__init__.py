"""The embedded world: drawn scenes with known bias."""
