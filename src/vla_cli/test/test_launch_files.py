"""`ros2 launch` and `vla up` start the same commands, environment and parameters."""

from pathlib import Path
import runpy

import pytest

from vla_cli import workspace
from vla_cli.verbs import up
from vla_core.stack import load_stack, resolve

LAUNCH = Path(__file__).resolve().parents[3] / 'launch'
FILES = {
    'bringup': ('sim', 'drivers', 'inference', 'tools'),
    'drivers': ('drivers',),
    'inference': ('inference',),
    'sim': ('sim',),
    'monitor': ('tools',),
}
FIXED = {'sim': {'use_sim': True}, 'monitor': {'monitor': True}}
GIVEN = {
    'namespace': 'lab', 'checkpoint': '/some/where', 'use_sim_time': 'true', 'log_level': 'warn',
    'sim_arguments': '--seed 3'}  # fmt: skip


def test_there_is_a_launch_file_for_every_group():
    assert sorted(path.name.split('.')[0] for path in LAUNCH.glob('*.launch.py')) == sorted(FILES)


def test_launch_folder_is_no_python_package():
    assert not (LAUNCH / '__init__.py').exists()  # it would shadow ROS' own launch


def launched(name, given):
    """What launch_ros makes of a launch file: (command, added environment) of every process."""
    launch = pytest.importorskip('launch', reason='ros2/launch is not installed here')
    pytest.importorskip('launch_ros', reason='ros2/launch_ros is not installed here')
    description = runpy.run_path(str(LAUNCH / f'{name}.launch.py'))[
        'generate_launch_description'
    ]()
    context = launch.LaunchContext()
    context.launch_configurations.update(given)
    actions, processes = list(description.entities), []
    while actions:
        entity = actions.pop(0)
        if isinstance(entity, launch.actions.ExecuteProcess):
            processes.append(started(entity, context))
        else:
            actions = list(entity.visit(context) or ()) + actions
    return processes


def started(action, context):
    """The command and environment of one action, without starting it."""
    substitute = getattr(action, '_perform_substitutions', None)
    name, namespace = None, None
    if substitute is not None:  # a Node: its name and namespace become arguments
        substitute(context)
        name, namespace = action.node_name.rpartition('/')[2], action.expanded_node_namespace
        context.extend_locals({'ros_specific_arguments': {
            'name': f'__node:={name}', 'ns': f'__ns:={namespace}'}})  # fmt: skip
    action.prepare(context)
    details = action.process_description
    return tuple(details.final_cmd), dict(details.final_env or {})


def expected(name, given):
    """What `vla up` would start for the same groups and arguments."""
    stack = load_stack(LAUNCH / 'stack.yaml')
    resolved = resolve(stack, {**given, **FIXED.get(name, {})}, groups=FILES[name])
    return up.to_programs(resolved)


@pytest.mark.parametrize('given', [{}, GIVEN], ids=['defaults', 'given'])
@pytest.mark.parametrize('name', FILES)
def test_launch_file_starts_what_vla_up_starts(monkeypatch, name, given):
    for variable in resolve(load_stack(LAUNCH / 'stack.yaml')).environment:
        monkeypatch.delenv(variable, raising=False)
    ours, theirs = expected(name, given), launched(name, given)
    assert [command[1:] for command, _ in theirs] == [program.command[1:] for program in ours]
    for (command, environment), program in zip(theirs, ours):
        assert workspace.shutil.which(command[0]) == program.command[0]
        for key, value in program.environment.items():
            assert environment[key] == value
