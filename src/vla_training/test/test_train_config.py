"""What `vla train` is told: strict keys, overrides, the course of the learning rate."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.errors import ConfigError
from vla_training.train.config import load_config, OptimizerConfig, to_dict, TrainConfig
from vla_training.train.schedule import learning_rate

CONFIGS = sorted(Path(load_config.__code__.co_filename).with_name('configs').glob('*.yaml'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_files_that_come_with_the_package_are_valid(path):
    assert load_config(Path(path.stem)) == load_config(path)


def test_every_key_can_be_overridden():
    config = load_config(
        Path('nano'),
        ['expert.use_age=false', 'data.ages=zero', 'optimizer.learning_rate=1e-4',
         'data.priorities={eye: 2.0}', 'data.episodes=[a, b]', 'pooling=mean'],
    )  # fmt: skip
    assert config.expert.given() == {
        'head': 'regression', 'passes': 2, 'temperature': 0.0, 'use_age': False,
    }  # fmt: skip
    assert config.data.ages == 'zero'
    assert config.optimizer.learning_rate == 1e-4 and config.data.priorities == {'eye': 2.0}
    assert config.data.episodes == ('a', 'b') and config.pooling == 'mean'


@pytest.mark.parametrize(
    'override, message',
    [
        ('optimizer.learning_rat=1', 'learning_rate'),
        ('expert.heat=flow', 'did you mean head'),
        ('stage=lara', 'lora'),
        ('steps=many', 'a whole number'),
        ('steps=0', 'steps must be at least 1'),
        ('steps', 'expected key=value'),
        ('data=3', 'expected a mapping'),
        ('optimizer.hold=0.99', 'below 1'),
        ('lora.targets=[', 'not valid YAML'),
        ('seed=99999999999999999999999', 'seed must be from 0 to'),
        ('threads=1000000000000', 'threads must be from 1 to 1024'),
        ('steps=100000000000', 'steps must be at least 1 and at most'),
        ('data.sensor_weight=-1', 'sensor_weight must be at least 0'),
        ('data.corrections=[a, b, ./a]', 'corrections must be different folders, .*a comes twice'),
        ('data.episodes=[a, a]', 'episodes must be different folders'),
        ('truth_weight=0.1', 'truth_weight must be 0 without data.corrections'),
    ],
)
def test_a_wrong_override_is_told_with_what_is_allowed(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(Path('nano'), [override])


@pytest.mark.parametrize(
    'override', ['stage=full', 'data.images=black', 'data.ages=zero', 'data.ages=mean']
)
def test_corrections_are_refused_where_they_cannot_mean_what_is_asked_for(override):
    with pytest.raises(ConfigError, match=r'data\.corrections hold features'):
        load_config(Path('nano'), ['data.corrections=[a]', override])


def test_a_configuration_survives_json():
    from vla_core.config import from_dict

    config = load_config(Path('stage2_3b'))
    assert from_dict(TrainConfig, to_dict(config), 'json') == config


def test_the_rate_warms_up_holds_and_falls():
    config = OptimizerConfig(warm_up=0.1, hold=0.1, least_learning_rate=1e-6)
    rates = [learning_rate(1e-3, step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4) and rates[9:20] == [1e-3] * 11
    assert all(a > b for a, b in zip(rates[19:], rates[20:]))
    assert rates[-1] == pytest.approx(1e-6) and rates[59] == pytest.approx(5e-4, rel=0.1)


@given(
    st.integers(1, 500), st.floats(0, 0.49), st.floats(0, 0.49), st.floats(1e-6, 1.0),
    st.floats(0, 1e-2),
)  # fmt: skip
def test_no_rate_is_zero_or_above_the_peak_before_the_end(steps, warm_up, hold, peak, least):
    config = OptimizerConfig(warm_up=warm_up, hold=hold, least_learning_rate=least)
    rates = [learning_rate(peak, step, steps, config) for step in range(steps)]
    assert all(0.0 <= rate <= peak * (1 + 1e-9) for rate in rates)
    assert all(rate > 0.0 for rate in rates[:-1])


def test_a_folder_of_the_same_name_hides_no_configuration_of_the_suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('nano').mkdir()
    assert load_config(Path('nano'), ['out=x']).out == 'x'
