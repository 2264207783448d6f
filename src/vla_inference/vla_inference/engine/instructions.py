"""What an instruction asks for, as far as success can be judged: in or out.

The task watch and the scripted expert ask; the model reads the text itself. Deliberately no
language understanding: a few words decide.
"""

from enum import Enum
import re

_OUT = ('retract', 'withdraw', 'remove', 'pull', 'out', 'back')
_IN = ('insert', 'puncture', 'advance', 'push', 'in', 'into')


class Aim(Enum):
    """Direction of an instruction."""

    INSERT = 'insert'
    RETRACT = 'retract'


def aim_of(instruction: str) -> Aim | None:
    """Return the aim by the first word that tells; None when no word does."""
    for word in re.findall(r'[a-z]+', instruction.lower()):
        if word in _OUT:
            return Aim.RETRACT
        if word in _IN:
            return Aim.INSERT
    return None
