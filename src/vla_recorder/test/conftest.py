from pathlib import Path

import pytest

from vla_ros import params
from vla_ros.testing import ros_context

CONFIG = Path(__file__).resolve().parents[3] / 'launch' / 'config'


@pytest.fixture
def ros(monkeypatch):
    # The values of this checkout, built or not.
    monkeypatch.setattr(
        params, 'configured_values', lambda name: params.yaml_values(CONFIG / f'{name}.yaml')
    )
    with ros_context() as context:
        yield context
