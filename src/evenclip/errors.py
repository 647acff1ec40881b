"""The one way to tell users that their input is wrong: what, where, and what to write instead."""


class InputError(Exception):
    """The user's input is wrong; the command line prints it without a traceback and exits with status 2.

    Parameters
    ----------
    what : str
        What is wrong, in one sentence.
    where : str, optional
        File, row, column or config key.
    instead : str, optional
        What to write or do instead.
    """

    def __init__(self, what: str, where: str | None = None, instead: str | None = None):
        self.what, self.where, self.instead = what, where, instead
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"\n  -> {self.instead}" if self.instead else ""
        return f"{where}{self.what}{hint}"
