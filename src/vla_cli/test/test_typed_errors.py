"""Every typed error of the suite comes whole from another process, whatever it is made of."""

import importlib
import inspect
from pathlib import Path
import pickle
import re

import pytest

from vla_core.errors import VlaError

SOURCES = Path(__file__).resolve().parents[2]
DEFINED = re.compile(r'^class (\w+)\(\w*Error\):', re.MULTILINE)


def kinds():
    """All subclasses of VlaError in the suite, in order of their names."""
    for path in sorted(SOURCES.glob('vla_*/vla_*/**/*.py')):
        if DEFINED.search(path.read_text()):
            importlib.import_module('.'.join(path.relative_to(SOURCES).with_suffix('').parts[1:]))
    found, coming = set(), [VlaError]
    while coming:
        kind = coming.pop()
        found.add(kind)
        coming += kind.__subclasses__()
    return sorted(found, key=lambda kind: kind.__name__)


def made(kind):
    """An error with a text for whatever its maker asks for."""
    if kind.__init__ is Exception.__init__:
        return kind('do this')
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return kind(*(f'some {item.name}' for item in parameters))


@pytest.mark.parametrize('kind', kinds())
def test_an_error_comes_whole_from_another_process(kind):
    error = made(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)
    assert vars(again) == vars(error) and again.args == error.args


def test_the_kinds_with_makers_of_their_own_are_among_them():
    names = {kind.__name__ for kind in kinds()}
    assert {'BagError', 'CheckpointError', 'ConfigError', 'WireFormatError'} <= names
