"""The demo's checkpoint is made anew when this code could not read it."""

import json
from pathlib import Path

import pytest

from vla_cli import workspace
from vla_cli.nano import fits
from vla_core.contract import load_contract
from vla_policy.version import POLICY_FORMAT

CONTRACT = Path(__file__).resolve().parents[3] / 'launch/config/contract/insertion.yaml'


@pytest.mark.parametrize(
    ('change', 'good'),
    [({}, True), ({'format': POLICY_FORMAT - 1}, False), ({'contract_hash': 'other'}, False)],
)
def test_a_checkpoint_fits_only_this_code_and_this_contract(monkeypatch, tmp_path, change, good):
    monkeypatch.setattr(workspace, 'default_contract', lambda: CONTRACT)
    policy = {'format': POLICY_FORMAT, 'contract_hash': load_contract(CONTRACT).hash}
    (tmp_path / 'policy.json').write_text(json.dumps(policy | change))
    assert not fits(tmp_path)  # without a manifest it is not complete
    (tmp_path / 'manifest.json').write_text('{}')
    assert fits(tmp_path) is good
