"""The strict loader: every kind of field, every kind of mistake."""

from dataclasses import dataclass, field
import enum
from pathlib import Path
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.config import from_dict, load_yaml
from vla_core.errors import ConfigError


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


@dataclass(frozen=True)
class Inner:
    rate_hz: float
    count: int = 3

    def __post_init__(self):
        if self.rate_hz <= 0:
            raise ValueError('rate_hz must be above 0')


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    items: tuple[Inner, ...] = ()
    names: list[str] = field(default_factory=list)
    pair: tuple[int, str] = (1, 'a')
    maybe: int | None = None
    either: int | str = 0
    table: dict[str, Inner] = field(default_factory=dict)
    flag: bool = False
    mode: Mode = Mode.FAST
    head: Literal['flow', 'diffusion'] = 'flow'
    path: Path = Path('.')
    anything: Any = None


GOOD = {'name': 'n', 'inner': {'rate_hz': 2}}


def load(**changes):
    return from_dict(Outer, {**GOOD, **changes}, 'f.yaml')


def test_all_kinds_of_fields_are_read():
    outer = load(
        items=[{'rate_hz': 1.5, 'count': 4}],
        names=['a', 'b'],
        pair=[2, 'b'],
        maybe=7,
        either='text',
        table={'x': {'rate_hz': 1}},
        flag=True,
        mode='slow',
        head='diffusion',
        path='/tmp',
        anything={'free': 1},
    )
    assert outer.inner == Inner(2.0, 3)
    assert isinstance(outer.inner.rate_hz, float)
    assert outer.items == (Inner(1.5, 4),)
    assert outer.names == ['a', 'b']
    assert outer.pair == (2, 'b')
    assert (outer.maybe, outer.either, outer.flag) == (7, 'text', True)
    assert outer.table == {'x': Inner(1.0)}
    assert (outer.mode, outer.head, outer.path) == (Mode.SLOW, 'diffusion', Path('/tmp'))
    assert outer.anything == {'free': 1}
    assert load(maybe=None).maybe is None


@pytest.mark.parametrize(
    'changes, parts',
    [
        ({'nmae': 'x'}, ['nmae', 'unknown key', 'did you mean name?']),
        ({'inner': {'rate_hz': 1, 'cuont': 2}}, ['inner.cuont', 'did you mean count?']),
        ({'inner': {}}, ['inner.rate_hz', 'missing']),
        ({'inner': {'rate_hz': 0}}, ['f.yaml: inner: rate_hz must be above 0']),
        ({'inner': 5}, ['inner = 5', 'expected a mapping']),
        ({'inner': {'rate_hz': True}}, ['inner.rate_hz = True', 'expected a number']),
        ({'inner': {'rate_hz': '5'}}, ["inner.rate_hz = '5'", 'expected a number']),
        ({'inner': {'rate_hz': float('nan')}}, ['expected a finite number']),
        (
            {'inner': {'rate_hz': 1, 'count': 2.5}},
            ['inner.count = 2.5', 'expected a whole number'],
        ),
        ({'items': [{'rate_hz': 1}, {'rat_hz': 1}]}, ['items[1].rat_hz', 'did you mean rate_hz?']),
        ({'items': 'abc'}, ['items', 'expected a list']),
        ({'pair': [1]}, ['pair', 'expected 2 entries, got 1']),
        ({'maybe': 'x'}, ['maybe', 'expected a whole number']),
        ({'either': 1.5}, ['either', 'expected text']),
        ({'table': {'x': 1}}, ['table.x', 'expected a mapping']),
        ({'table': {5: {}}}, ['table.5', 'put it in quotes']),
        ({'table': []}, ['table', 'expected a mapping']),
        ({'flag': 1}, ['flag = 1', 'true or false']),
        ({'mode': 'slwo'}, ['mode', 'fast, slow', 'did you mean slow?']),
        ({'head': 'flwo'}, ['head', 'did you mean flow?']),
        ({'head': ['flow']}, ['head', 'expected one of flow, diffusion']),
        ({'name': 5}, ['name = 5', 'expected text']),
    ],
)
def test_every_mistake_names_the_file_the_key_and_what_is_allowed(changes, parts):
    with pytest.raises(ConfigError) as caught:
        load(**changes)
    assert str(caught.value).startswith('f.yaml: ')
    for part in parts:
        assert part in str(caught.value)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda child: (
        st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=5), child, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Outer.__dataclass_fields__, 'x']), JUNK, max_size=4))
def test_junk_gives_a_value_or_a_config_error_never_anything_else(data):
    try:
        assert isinstance(from_dict(Outer, data, 'f.yaml'), Outer)
    except ConfigError:
        pass


def write(tmp_path, text):
    path = tmp_path / 'stack.yaml'
    path.write_text(text)
    return path


def test_yaml_mapping_is_read_and_an_empty_file_is_an_empty_mapping(tmp_path):
    assert load_yaml(write(tmp_path, 'a: 1\nb: {c: [1, 2]}\n')) == {'a': 1, 'b': {'c': [1, 2]}}
    assert load_yaml(write(tmp_path, '# nothing\n')) == {}


def test_yaml_reads_exponents_without_a_dot_as_numbers(tmp_path):
    assert load_yaml(write(tmp_path, 'lr: 1e-4\nbig: -2E+3\nname: e4\n')) == {
        'lr': 1e-4,
        'big': -2000.0,
        'name': 'e4',
    }


@pytest.mark.parametrize(
    'text, part',
    [
        ('a: 1\nb: [1, 2\n', 'line '),
        ('a: 1\na: 2\n', "the key 'a' is given twice"),
        ('- 1\n- 2\n', 'expected a mapping'),
        ('a: !!python/object:os.system {}\n', 'not valid YAML'),
        ('when: 2024-13-45\n', 'not valid YAML'),
        ('? [1, 2]\n: 3\n', 'not valid YAML'),
        ('\t- a: b: c\n', 'line 1'),
        ('a: *nowhere\n', 'line 1'),
    ],
)
def test_bad_yaml_is_one_line_with_the_place(tmp_path, text, part):
    with pytest.raises(ConfigError) as caught:
        load_yaml(write(tmp_path, text))
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)
    assert 'stack.yaml' in str(caught.value)


def test_missing_file_names_the_nearest_one(tmp_path):
    write(tmp_path, 'a: 1\n')
    with pytest.raises(ConfigError, match='no such file.*did you mean stack.yaml'):
        load_yaml(tmp_path / 'stak.yaml')
    with pytest.raises(ConfigError, match='does not exist either'):
        load_yaml(tmp_path / 'no' / 'stack.yaml')


def test_folder_or_binary_instead_of_a_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match='cannot be read'):
        load_yaml(tmp_path)
    path = tmp_path / 'b.yaml'
    path.write_bytes(b'\xff\xfe\x00\x81')
    with pytest.raises(ConfigError, match='cannot be read'):
        load_yaml(path)
