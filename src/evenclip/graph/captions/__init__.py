"""Captions as knowledge: a parser, its words, and false variants."""
