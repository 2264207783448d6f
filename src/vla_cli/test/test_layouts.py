"""The layouts for rqt and Foxglove show topics and fields that exist."""

import json
from pathlib import Path
import re

import pytest

from vla_core.contract import load_contract
from vla_msgs.msg import ActionChunk, Lineage, VLFeatureInfo

LAUNCH = Path(__file__).resolve().parents[3] / 'launch'
FILES = (LAUNCH / 'foxglove' / 'vla.json', LAUNCH / 'rqt' / 'vla.perspective')


@pytest.mark.parametrize('path', FILES, ids=['foxglove', 'rqt'])
def test_layout_names_every_camera_and_only_fields_that_messages_have(path):
    text = path.read_text()
    json.loads(text)
    contract = load_contract(LAUNCH / 'config' / 'contract' / 'insertion.yaml')
    assert all(f'/{view.topic}' in text for view in contract.views)
    fields = re.findall(r'/(action/chunk|vlm/info)[./]([\w./]+)', text)
    assert len(fields) >= 7
    for topic, field in fields:
        kind = ActionChunk if topic == 'action/chunk' else VLFeatureInfo
        first, *rest = re.split(r'[./]', field)
        assert first in kind.get_fields_and_field_types()
        assert not rest or rest[0] in Lineage.get_fields_and_field_types()
