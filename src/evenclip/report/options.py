"""Options of the report stage."""

from evenclip.options import Options


class ReportOptions(Options):
    """Options of a study's report."""

    photos: bool = False
    """Show some training pairs of imported data, with their photos. Pictures that `evenclip data synthesize` draws show
    nobody and are always there."""
