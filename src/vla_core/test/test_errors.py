"""Errors say file, key, value and what is allowed."""

import pickle

import pytest

from vla_core.errors import closest, ConfigError, did_you_mean, VlaError, WireFormatError


def test_config_error_names_file_key_value_and_the_nearest_choice():
    error = ConfigError('stack.yaml', 'sensor.clock', 'trustd', ['trusted', 'estimated'])
    assert str(error) == (
        "stack.yaml: sensor.clock = 'trustd': expected one of trusted, estimated; "
        'did you mean trusted?'
    )
    assert isinstance(error, VlaError)


def test_config_error_takes_a_sentence_instead_of_choices():
    error = ConfigError('a.yaml', 'rate_hz', -1, 'expected a number above 0')
    assert str(error) == 'a.yaml: rate_hz = -1: expected a number above 0'


def test_config_error_shortens_huge_values_and_stays_on_one_line():
    error = ConfigError('a.yaml', 'key', 'x\n' * 500, 'expected a number')
    assert len(str(error)) < 150
    assert '\n' not in str(error)


def test_wire_error_carries_a_kind_to_count_by():
    error = WireFormatError('bad_length', 'datagram of 3 bytes')
    assert error.kind == 'bad_length'
    assert 'bad_length' in str(error)


def test_errors_come_whole_from_another_process():
    config = ConfigError('a.yaml', 'rate_hz', -1, 'expected a number above 0')
    wire = WireFormatError('bad_length', 'datagram of 3 bytes')
    for error in (VlaError('do this'), config, wire):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize(
    'word, expected',
    [
        ('sensr', 'sensor'),
        ('SENSOR', 'sensor'),
        ('window-samples', 'window_samples'),
        ('zebra', None),
        ('', None),
    ],
)
def test_closest_finds_the_nearest_choice_or_none(word, expected):
    assert closest(word, ['sensor', 'state', 'window_samples']) == expected


def test_did_you_mean_is_empty_when_nothing_is_near():
    assert did_you_mean('zebra', ['sensor']) == ''
    assert did_you_mean('sensr', ['sensor']) == '; did you mean sensor?'
