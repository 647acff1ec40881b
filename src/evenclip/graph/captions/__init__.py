"""Caption parser, its word classes, and false variants of captions."""
