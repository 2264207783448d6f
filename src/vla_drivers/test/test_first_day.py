"""The page for the first day names what really exists."""

import inspect
from pathlib import Path
import re

from vla_core.robot_services import ROBOT_SERVICES
import vla_core.safety
from vla_drivers.nodes import command_node, robot_driver, robot_messages
from vla_drivers.nodes.robot_parameters import Parameters
from vla_ros.params import specs

PAGE = (Path(__file__).resolve().parents[3] / 'docs' / 'first_day.md').read_text()
# Words in code style that are no parameter and no reason.
FIELDS = {'force_n', 'recovery_needed', 'reasons', 'true', 'false', 'reset', 'enable', 'disable'}
FIELDS |= {'recover', 'stop', 'status', 'stopped', 'emergency_stop', 'host', 'device'}
REASON = re.compile(r"(?:Intervention|hold|stop|judge_age|_beyond)\(\s*'([a-z_]+)'")
PAIRED = re.compile(r"\('([a-z_]+)', (?:velocity|change)\[")


def reasons():
    folder = Path(inspect.getfile(vla_core.safety)).parent
    source = '\n'.join(path.read_text() for path in folder.glob('*.py'))
    found = set(REASON.findall(source)) | set(PAIRED.findall(source))
    return found | {'upstream_hold', 'upstream_stop'}


def words():
    return set(re.findall(r'`([a-z][a-z_]+)`', PAGE))


def test_every_reason_of_the_gate_is_explained():
    assert len(reasons()) > 25
    assert reasons() - words() == set()


def test_every_word_is_a_parameter_a_reason_or_a_field_that_exists():
    known = set(specs(Parameters)) | reasons() | FIELDS | {'device_state_only'}
    assert words() - known == set()


def test_every_operator_service_is_on_the_page():
    made = inspect.getsource(command_node) + inspect.getsource(robot_driver)
    for name in ROBOT_SERVICES:
        assert f"'{name}'" in made or f'robot/{name}' in made
        assert name in PAGE
    assert 'device_state_only' in inspect.getsource(robot_messages)
