"""The contract: the committed file, the hash, mismatches, mistakes."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from vla_core.config import from_dict, load_yaml
from vla_core.contract import check_same, Contract, load_contract, STATE_KEYS, ViewSpec
from vla_core.errors import ConfigError, ContractMismatch
from vla_core.freshness import Limits
from vla_core.window import WindowSpec

INSERTION = (
    Path(__file__).resolve().parents[3] / 'launch' / 'config' / 'contract' / 'insertion.yaml'
)


@pytest.fixture
def contract():
    return load_contract(INSERTION)


def test_insertion_contract_holds_the_figures_of_the_design(contract):
    assert contract.view_names == ('view1', 'view2', 'view3', 'view4', 'view5')
    assert contract.views[4].topic == 'cameras/view5/image_raw/compressed'
    assert (contract.images.width, contract.images.height) == (640, 360)
    assert contract.sensor.window == WindowSpec(65, 100_000_000, 30_000_000)
    assert contract.sensor.period_ns == 1_538_462
    assert (contract.sensor.channels, contract.state.width) == (1026, 12)
    assert (contract.action.steps, contract.action.period_ns, contract.action.dims) == (
        8,
        10**8,
        6,
    )
    assert contract.sensor.limits == Limits(0.06, 0.15, 1.0)
    assert contract.state.limits == Limits(0.25, 0.5, 2.0)
    assert contract.images.limits == contract.features.limits == Limits(0.6, 1.2, 3.0)


def test_defaults_in_code_are_the_committed_file(contract):
    check_same(contract, Contract('insertion', 1, contract.views))


def test_hash_is_stable_and_survives_yaml(contract, tmp_path):
    assert contract.hash == 'c675a83664f85792'
    copy = tmp_path / 'copy.yaml'
    copy.write_text(yaml.safe_dump(contract.to_dict()))
    assert load_contract(copy) == contract
    assert load_contract(copy).hash == contract.hash


def test_hash_does_not_depend_on_the_order_of_keys_but_on_that_of_views(contract):
    data = contract.to_dict()
    turned = from_dict(Contract, dict(reversed(data.items())), 'x')
    assert turned.hash == contract.hash
    swapped = dataclasses.replace(contract, views=contract.views[::-1])
    assert swapped.hash != contract.hash


def test_mismatch_names_both_hashes_and_the_differing_keys(contract):
    other = dataclasses.replace(
        contract,
        images=dataclasses.replace(contract.images, width=1280),
        views=contract.views[:4],
    )
    with pytest.raises(ContractMismatch) as caught:
        check_same(contract, other, 'of this launch', 'of the checkpoint')
    text = str(caught.value)
    assert contract.hash in text and other.hash in text
    assert 'images.width: 640 and 1280' in text
    assert "views[4].name: 'view5' and None" in text
    assert 'sensor' not in text
    check_same(contract, contract)


def edited(tmp_path, change):
    data = load_yaml(INSERTION)
    change(data)
    path = tmp_path / 'contract.yaml'
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize(
    'change, part',
    [
        (
            lambda d: d['sensor'].update(sampels=3),
            'sensor.sampels: unknown key; did you mean samples?',
        ),
        (lambda d: d['sensor'].update(samples=0), 'sensor: samples must be above 0'),
        (lambda d: d['sensor'].update(lag_s=-0.1), 'lag_s must not be negative'),
        (lambda d: d['sensor'].update(alignment='windw'), 'did you mean window?'),
        (lambda d: d['images']['limits'].update(hold_s=9), 'images.limits: limits must be'),
        (lambda d: d['state']['keys'].reverse(), 'state: keys must be joint_1_rad'),
        (lambda d: d['state'].update(reference_xyzw=[0, 0, 0, 0]), 'unit quaternion'),
        (lambda d: d.update(views=[]), 'at least one view'),
        (lambda d: d['views'][1].update(name='view1'), 'two views have the same name'),
        (lambda d: d['views'][1].update(topic=d['views'][0]['topic']), 'the same topic'),
        (lambda d: d['action'].update(dims=7), 'action.dims = 7: expected one of 6'),
        (lambda d: d.pop('version'), 'version: missing'),
    ],
)
def test_mistake_in_a_contract_names_the_file_and_the_key(tmp_path, change, part):
    path = edited(tmp_path, change)
    with pytest.raises(ConfigError) as caught:
        load_contract(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)


def test_state_keys_carry_their_units():
    assert len(STATE_KEYS) == 12
    assert all(key.endswith(('_rad', '_m')) for key in STATE_KEYS)


def test_contract_can_be_written_in_code():
    contract = Contract('tiny', 1, (ViewSpec('a', 'cameras/a'),))
    assert contract.view_names == ('a',)
    assert len(contract.hash) == 16
