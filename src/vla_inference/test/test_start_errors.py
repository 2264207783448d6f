import os
import re
import shutil
import subprocess
import sys

import pytest

from vla_ros.testing import ros_domain

CONTRACT = 'launch/config/contract/insertion.yaml'
NODES = ('vlm_node', 'action_expert_node')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A nano checkpoint of a small contract: made in seconds."""
    from pathlib import Path

    from vla_policy.checkpoint import create_checkpoint

    folder = tmp_path_factory.mktemp('checkpoint') / 'nano'
    create_checkpoint('nano', folder, 0, Path(__file__).resolve().parents[3] / CONTRACT)
    return folder


def start(node, *parameters, timeout_s=60):
    """Run a node to its end; return the exit code and its lines on stderr but for [INFO]."""
    ros_domain()
    code = f'import sys; from vla_inference.nodes.{node} import main; sys.exit(main())'
    command = [sys.executable, '-c', code]
    options = [word for parameter in parameters for word in ('-p', parameter)]
    done = subprocess.run(
        [*command, '--ros-args', *options], capture_output=True, text=True, timeout=timeout_s,
        env={**os.environ, 'RCUTILS_COLORIZED_OUTPUT': '0'},
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if not line.startswith('[INFO]')]
    return done.returncode, lines


@pytest.mark.parametrize('node', NODES)
@pytest.mark.parametrize(
    ('parameters', 'text'),
    [
        (["checkpoint:=''"], 'no checkpoint given; make one with `vla checkpoint create'),
        (['checkpoint:=/no/such/folder'], '/no/such/folder: no such checkpoint folder'),
        (['chekpoint:=x'], 'no such parameter; did you mean checkpoint?'),
        (['num_threads:=0'], 'num_threads = 0: expected an integer from 1 to 64'),
    ],
)
def test_wrong_parameters_end_in_one_clear_line(node, parameters, text):
    code, lines = start(node, *parameters)
    assert code == 1 and len(lines) == 1 and text in lines[0], lines


def test_a_damaged_checkpoint_is_refused_in_one_line(checkpoint, tmp_path):
    broken = tmp_path / 'broken'
    shutil.copytree(checkpoint, broken)
    weights = broken / 'expert.safetensors'
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    code, lines = start('action_expert_node', f'checkpoint:={broken}')
    assert code == 1 and len(lines) == 1 and 'wrong hash' in lines[0], lines


@pytest.mark.parametrize('node', NODES)
def test_another_contract_is_refused_with_both_hashes_and_the_keys(node, checkpoint, tmp_path):
    text = (checkpoint / 'contract.yaml').read_text()
    other = tmp_path / 'other.yaml'
    other.write_text(re.sub('rate_hz: 650.0', 'rate_hz: 700.0', text))
    code, lines = start(node, f'checkpoint:={checkpoint}', f'contract:={other}')
    assert code == 1 and len(lines) == 1, lines
    assert 'sensor.rate_hz: 700.0 and 650.0' in lines[0]
    assert len(re.findall(r'\([0-9a-f]{16}\)', lines[0])) == 2


def test_a_window_that_is_not_the_contracts_is_refused(checkpoint):
    code, lines = start('action_expert_node', f'checkpoint:={checkpoint}', 'sensor_window:=650')
    assert code == 1 and len(lines) == 1 and 'says 65; set it to 65' in lines[0], lines


def test_realtime_chunking_without_a_flow_head_is_refused(tmp_path):
    from pathlib import Path

    from vla_policy.checkpoint import create_checkpoint

    folder = tmp_path / 'diffusion'
    create_checkpoint('nano', folder, 0, Path(__file__).parents[3] / CONTRACT, head='diffusion')
    code, lines = start('action_expert_node', f'checkpoint:={folder}', 'chunk_policy:=rtc')
    assert code == 1 and len(lines) == 1, lines
    assert 'chunk_policy' in lines[0] and 'diffusion head' in lines[0]


def test_a_device_that_is_not_there_is_refused(checkpoint):
    code, lines = start('vlm_node', f'checkpoint:={checkpoint}', 'device:=gpu0')
    assert (
        code == 1 and len(lines) == 1 and "expected 'auto', 'cpu', 'cuda' or 'cuda:N'" in lines[0]
    )
