"""Typed errors of the policy.

Raised by the checkpoint, the backbones and at the borders of the encoder and the expert; a node or
the command line shows the text as one line. Deliberately holds no logic.
"""

from os import PathLike

from vla_core.errors import VlaError


class CheckpointError(VlaError):
    """A checkpoint cannot be used: names the file, what is wrong with it and what to do."""

    def __init__(self, file: str | PathLike[str], problem: str, remedy: str) -> None:
        self.file = str(file)
        super().__init__(f'{self.file}: {problem}; {remedy}')


class PolicyInputError(VlaError):
    """An input of the model has the wrong shape, type or content."""
