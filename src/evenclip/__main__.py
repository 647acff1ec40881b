"""`python -m evenclip` is the `evenclip` command."""

from evenclip.cli import main

main()
