"""vla robot and vla task against fakes of driver and task server, in a domain of their own."""

import math
import threading

import pytest
from rclpy.action import ActionServer, CancelResponse
from rclpy.node import Node
from std_srvs.srv import Trigger

from vla_cli.main import main
from vla_cli.operator import link as link_module
from vla_cli.operator.link import OperatorLink
from vla_cli.operator.records import OUTCOMES
from vla_cli.verbs import robot as robot_verb
from vla_core.errors import VlaError
from vla_core.robot_services import ROBOT_SERVICES
from vla_msgs.action import ExecuteTask
from vla_msgs.msg import CommandStatus, RobotStatus
from vla_ros import qos
from vla_ros.testing import ros_context, spinning, wait_for


class Driver(Node):
    """Answers every service of the driver, and tells its status ten times a second."""

    def __init__(self):
        super().__init__('robot_driver')
        self.called, self.refuse = [], ''
        self.robot = self.create_publisher(RobotStatus, 'robot/status', qos.STATUS)
        self.command = self.create_publisher(CommandStatus, 'robot/command_status', qos.STATUS)
        for name in ROBOT_SERVICES:
            self.create_service(Trigger, f'robot/{name}', self._answer(name))
        self.create_timer(0.1, self._publish)

    def _answer(self, name):
        def serve(request, response):
            self.called.append(name)
            response.success = not self.refuse
            response.message = self.refuse or f'{name} done'
            return response

        return serve

    def _publish(self):
        self.robot.publish(RobotStatus(device='mecademic', state=1, activated=True, homed=True))
        self.command.publish(
            CommandStatus(
                gate='enabled', result=1, reasons=['speed'], values=[0.03], limits=[0.02]
            )
        )


class TaskServer(Node):
    """Gives feedback until it is cancelled or told to end."""

    def __init__(self):
        super().__init__('task_node')
        self.finish = threading.Event()
        self.outcome = ExecuteTask.Result.SUCCESS
        self.server = ActionServer(
            self,
            ExecuteTask,
            'execute_task',
            self._execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )
        self.create_timer(0.02, lambda: None)  # keeps the executor polling the goal's task

    async def _execute(self, goal):
        class Turn:
            def __await__(self):
                yield

        while not (goal.is_cancel_requested or self.finish.is_set()):
            goal.publish_feedback(ExecuteTask.Feedback(progress=0.5, force_n=math.nan))
            await Turn()
        canceled = goal.is_cancel_requested
        (goal.canceled if canceled else goal.succeed)()
        outcome = ExecuteTask.Result.CANCELED if canceled else self.outcome
        return ExecuteTask.Result(outcome=outcome, detail='so it ended', duration_s=1.0)


@pytest.fixture(scope='module', autouse=True)
def ros():
    with ros_context():
        yield


@pytest.fixture
def driver():
    node = Driver()
    with spinning(node):
        yield node


@pytest.fixture
def server():
    node = TaskServer()
    with spinning(node):
        yield node
        node.finish.set()
    node.server.destroy()  # the node does not


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(link_module, 'ANSWER_S', 0.3)


@pytest.mark.parametrize('action', [a for a in robot_verb.ACTIONS if a != 'status'])
def test_every_action_calls_its_service(driver, capsys, action):
    assert main(['robot', action]) == 0
    assert driver.called == [{'stop': 'emergency_stop'}.get(action, action)]
    assert 'done' in capsys.readouterr().out


def test_refusal_of_the_driver_is_one_line_and_exit_code_1(driver, capsys):
    driver.refuse = 'not enabled: sensor data is 2 s old'
    assert main(['robot', 'enable']) == 1
    assert capsys.readouterr().err == 'robot/enable: not enabled: sensor data is 2 s old\n'


def test_status_shows_robot_and_gate(driver, capsys):
    assert main(['robot', 'status']) == 0
    text = capsys.readouterr().out
    assert 'mecademic connected, activated and homed' in text
    assert 'enabled' in text and 'limited: speed 0.03/0.02' in text


@pytest.mark.parametrize('words', [['robot', 'enable'], ['robot', 'status'], ['task', 'insert']])
def test_without_a_stack_it_is_one_line_that_says_what_to_start(short, capsys, words):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert 'vla up' in error and error.count('\n') == 1


def test_a_server_that_is_found_late_is_waited_for_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setattr(link_module, 'PATIENT_S', 0.3)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(['task', 'insert'])))
    thread.start()
    said = []
    wait_for(lambda: said.append(capsys.readouterr().err) or 'waiting for a task' in ''.join(said))
    node = TaskServer()
    node.finish.set()
    with spinning(node):
        thread.join(20.0)
    node.server.destroy()
    assert codes == [0]
    assert ''.join(said).count('waiting') == 1


def test_outcomes_have_the_numbers_of_the_action():
    for number, name in enumerate(OUTCOMES):
        assert getattr(ExecuteTask.Result, name) == number
    assert ExecuteTask.Result().outcome == OUTCOMES.index('UNKNOWN')


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['robot', 'enabel'], 'did you mean enable'),
        (['robot'], 'ACTION'),
        (['robot', 'enable', 'x'], 'unknown argument x'),
        (['task'], 'instruction'),
        (['task', 'insert', 'the'], 'unknown argument the'),
        (['task', 'insert', '--timeout', '-1'], 'above 0'),
        (['task', 'insert', '--timout', '3'], 'did you mean --timeout'),
        (['demo', '--policy', 'scriptd'], 'scriptd'),
        (['demo', '--no-sim'], 'simulated lab only'),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(capsys, words, expected):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert expected in error and error.count('\n') == 1


def test_task_shows_progress_and_ends_with_the_outcome(server, capsys):
    thread = threading.Timer(0.5, server.finish.set)
    thread.start()
    assert main(['task', 'insert the needle']) == 0
    out = capsys.readouterr().out
    assert '50%' in out and 'SUCCESS: so it ended' in out


def test_task_without_success_has_exit_code_1(server, capsys):
    server.outcome = ExecuteTask.Result.TIMEOUT
    server.finish.set()
    assert main(['task', 'insert the needle']) == 1
    assert 'TIMEOUT: so it ended' in capsys.readouterr().err


def test_interrupt_cancels_the_goal(server):
    told = []

    def interrupt(record):
        told.append(record)
        if len(told) == 1:
            raise KeyboardInterrupt

    with OperatorLink() as link:
        assert link.execute('insert', 0.0, interrupt).outcome == 'CANCELED'
        assert link.interrupted
        server.finish.set()
        assert link.execute('insert', 0.0).success and not link.interrupted


def test_task_server_that_goes_away_is_said(monkeypatch):
    monkeypatch.setattr(link_module, 'CANCEL_S', 0.3)
    node = TaskServer()
    with OperatorLink() as link:
        gone = threading.Event()

        def run():
            with spinning(node):
                gone.wait(10.0)
            node.server.destroy()

        thread = threading.Thread(target=run)
        thread.start()
        seen = []

        def tell(record):
            seen.append(record)
            if len(seen) == 3:
                gone.set()

        with pytest.raises(VlaError, match='task server is gone'):
            link.execute('insert', 0.0, tell)
        thread.join()
        wait_for(lambda: not thread.is_alive())
