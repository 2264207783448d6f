"""Typed errors of the episodes.

Raised by whatever reads, writes, imports or exports an episode; the command line shows the text as
one line. Deliberately holds no logic.
"""

from os import PathLike

from vla_core.errors import VlaError


class BagError(VlaError):
    """A bag cannot be used: names the file and the fault, and what to do where there is something.

    `file` and `fault` are kept apart for tables; `str()` is the one line.
    """

    def __init__(self, file: str | PathLike[str], fault: str, remedy: str = '') -> None:
        self.file = str(file)
        self.fault = fault
        self.remedy = remedy
        super().__init__(f'{self.file}: {fault}' + (f'; {remedy}' if remedy else ''))
