"""The stack description: what is read, what is refused, what is started."""

from pathlib import Path

import pytest

from vla_core.errors import ConfigError
from vla_core.stack import load_stack, Override, resolve

REAL = Path(__file__).resolve().parents[3] / 'launch' / 'stack.yaml'
TEXT = """
arguments:
  namespace: {type: namespace, description: n}
  use_sim: {type: bool, default: true, description: s}
  checkpoint: {description: c}
  port: {type: int, default: 7, description: p}
  more: {type: words, description: m}
  log: {default: info, choices: [debug, info], description: l}
environment: {PROFILE: $(share)/dds.xml, RMW: fast}
nodes:
  - name: sim
    package: vla_sim
    executable: vla_sim
    kind: process
    group: sim
    condition: use_sim
    arguments: [--port, $(port), $(more), $(checkpoint)]
  - name: driver
    package: vla_drivers
    executable: driver
    group: drivers
    parameter_files: [$(share)/driver.yaml]
    parameters: {checkpoint: $(checkpoint), port: $(port), sim: $(use_sim), text: at $(port)}
"""


@pytest.fixture
def make(tmp_path):
    def write(text=TEXT, old='', new=''):
        assert old in text
        path = tmp_path / 'stack.yaml'
        path.write_text(text.replace(old, new))
        return load_stack(path)

    return write


def names(resolved):
    return [process.name for process in resolved.processes]


def test_processes_come_in_the_order_of_the_file(make):
    assert names(resolve(make())) == ['sim', 'driver']


def test_command_of_a_node_is_parameter_files_then_values_then_name_and_namespace(make):
    stack = make()
    driver = resolve(stack, {'namespace': 'lab', 'checkpoint': '/a b'}).processes[1]
    share = str(Path(stack.file).parent)
    assert driver.command_tail == (
        '--ros-args', '--params-file', f'{share}/driver.yaml', '-p', 'checkpoint:="/a b"',
        '-p', 'port:=7', '-p', 'sim:=true', '-p', 'text:="at 7"',
        '--ros-args', '-r', '__node:=driver', '-r', '__ns:=/lab')  # fmt: skip


def test_parameter_that_is_just_an_empty_argument_is_left_to_the_parameter_file(make):
    driver = resolve(make()).processes[1]
    assert not any('checkpoint' in word for word in driver.command_tail)


def test_words_are_split_like_a_shell_line_and_empty_arguments_vanish(make):
    sim = resolve(make(), {'more': "--loss 0.1 --name 'a b'"}).processes[0]
    assert sim.command_tail == ('--port', '7', '--loss', '0.1', '--name', 'a b')


def test_text_argument_with_spaces_stays_one_word(make):
    sim = resolve(make(), {'checkpoint': '/a b'}).processes[0]
    assert sim.command_tail == ('--port', '7', '/a b')


def test_condition_leaves_a_node_out(make):
    assert names(resolve(make(), {'use_sim': 'false'})) == ['driver']


def test_negated_condition_turns_it_round(make):
    stack = make(old='condition: use_sim', new='condition: not use_sim')
    assert names(resolve(stack)) == ['driver']


def test_groups_restrict_what_is_started(make):
    assert names(resolve(make(), groups=['drivers'])) == ['driver']


def test_environment_of_the_shell_wins_over_the_description(make):
    stack = make()
    added = resolve(stack).added_environment({'RMW': 'mine'})
    assert added == {'PROFILE': str(Path(stack.file).parent / 'dds.xml')}


def test_override_comes_last_and_keeps_its_type(make):
    for text, expected in (
        ('driver.port=9', 'port:=9'),
        ("driver.port='9'", 'port:="9"'),
        ('driver.port=', 'port:=""'),
        ('driver.gains=[1.5, 2]', 'gains:=[1.5, 2]'),
        ('driver.a.b=true', 'a.b:=true'),
        ('driver.text=a: [', 'text:="a: ["'),
    ):
        tail = resolve(make(), overrides=[Override.parse(text)]).processes[1].command_tail
        assert expected in tail, text
        assert not any(word == 'port:=7' for word in tail) or 'port' not in text


@pytest.mark.parametrize(
    ('old', 'new', 'expected'),
    [
        ('group: drivers', 'grup: drivers', 'did you mean group'),
        ('group: drivers', 'group: driver', 'drivers'),
        ('name: driver', 'name: sim', 'two nodes are called sim'),
        ('name: driver', 'name: my driver', 'letters, digits'),
        ('$(port), $(more)', '$(prot), $(more)', 'did you mean port'),
        ('condition: use_sim', 'condition: use_simm', 'did you mean use_sim'),
        ('condition: use_sim', 'condition: port', 'bool argument'),
        ('default: 7', 'default: seven', 'whole number'),
        (
            'kind: process',
            'kind: process\n    parameters: {a: 1}',
            'takes arguments, not parameters',
        ),
        ('type: int', 'type: integer', 'int'),
        ('$(share)/dds.xml', '$(shared)/dds.xml', 'did you mean share'),
        ('executable: driver', 'respawn: {delay_s: 20.0}\n    executable: driver', 'max_delay_s'),
    ],
)
def test_mistake_in_the_file_is_refused_with_what_is_allowed(make, old, new, expected):
    with pytest.raises(ConfigError) as caught:
        make(old=old, new=new)
    assert expected in str(caught.value)
    assert 'stack.yaml' in str(caught.value)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'chekpoint': 'x'}, 'did you mean checkpoint'),
        ({'use_sim': 'maybe'}, 'true or false'),
        ({'port': 'x'}, 'whole number'),
        ({'namespace': 'a b'}, 'namespace'),
        ({'more': "'open"}, 'words'),
    ],
)
def test_wrong_argument_is_refused(make, values, expected):
    with pytest.raises(ConfigError, match=expected):
        resolve(make(), values)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('drivr.port=1', 'did you mean driver'),
        ('sim.port=1', 'no ROS parameters'),
        ('port=1', 'NODE.PARAMETER=VALUE'),
        ('driver.port', 'NODE.PARAMETER=VALUE'),
    ],
)
def test_wrong_override_is_refused(make, text, expected):
    with pytest.raises(ConfigError, match=expected):
        resolve(make(), overrides=[Override.parse(text)])


def test_unknown_group_is_refused_with_the_nearest(make):
    with pytest.raises(ConfigError, match='did you mean drivers'):
        resolve(make(), groups=['driver'])


def test_the_suites_own_description_is_valid_and_names_every_node():
    resolved = resolve(load_stack(REAL), {'monitor': True})
    assert names(resolved) == [
        'vla_sim', 'robot_driver', 'camera_driver', 'sensor_driver', 'vlm_node',
        'action_expert_node', 'task_node', 'vla_monitor']  # fmt: skip
    for process in resolved.processes:
        for index, word in enumerate(process.ros_arguments):
            if word == '--params-file':
                assert Path(process.ros_arguments[index + 1]).is_file()


def test_scripted_policy_starts_its_node_and_puts_the_model_into_its_shadow():
    for policy, shadow in (('model', 'false'), ('scripted', 'true')):
        resolved = resolve(load_stack(REAL), {'policy': policy})
        assert ('scripted_expert_node' in names(resolved)) == (policy == 'scripted')
        expert = next(p for p in resolved.processes if p.name == 'action_expert_node')
        assert f'shadow:={shadow}' in expert.ros_arguments


def test_robot_argument_is_left_to_the_parameter_file_when_empty():
    for given, expected in (({}, False), ({'robot': 'mecademic'}, True)):
        resolved = resolve(load_stack(REAL), given)
        driver = next(p for p in resolved.processes if p.name == 'robot_driver')
        assert any(word.startswith('device:=') for word in driver.ros_arguments) == expected


@pytest.mark.parametrize(
    ('condition', 'expected'),
    [('log == loud', 'debug'), ('lgo == info', 'did you mean log'), ('port == 5556', 'choices')],
)
def test_wrong_comparison_in_a_condition_is_refused(make, condition, expected):
    with pytest.raises(ConfigError, match=expected):
        make(
            old='executable: driver',
            new=f'executable: driver\n    condition: {condition}',
        )
