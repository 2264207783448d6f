"""Shared by the system tests: one checkpoint, made once."""

import pytest
from vla_system_tests.lab import run_vla


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('checkpoint') / 'nano'
    result = run_vla(
        'checkpoint', 'create', '--preset', 'nano', '--out', str(folder), timeout_s=100
    )
    assert result.returncode == 0, result.stderr
    return folder
