"""The supervisor with real, misbehaving processes."""

import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

from vla_cli.supervisor.loop import STOP_LADDER
from vla_cli.supervisor.status import read_status
from vla_ros.testing import wait_for

SCRIPT = Path(__file__).with_name('supervised.py')
SLEEP = 'import time; time.sleep(600)'
# Ignores what may be ignored, and has a child that does so too.
STUBBORN = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
child = os.fork()
os.write(1, f'ready {child or None}\\n'.encode())  # one write: two processes share the pipe
time.sleep(600)
"""


class Run:
    """A supervisor under test."""

    def __init__(self, run_dir, **programs):
        self.dir = run_dir
        words = [f'{name}={code}' for name, code in programs.items()]
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(run_dir), *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def status(self):
        return read_status(self.dir / 'status.json')

    def part(self, name):
        status = self.status()
        return next((p for p in status.processes if p.name == name), None) if status else None

    def log(self, name):
        path = self.dir / f'{name}.log'
        return path.read_text() if path.exists() else ''

    def wait_running(self, *names):
        wait_for(lambda: all((p := self.part(n)) and p.pid for n in names), 10, 'all are started')
        return [self.part(name).pid for name in names]

    def end(self, number=signal.SIGINT, timeout_s=10):
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=timeout_s)
        return output


@pytest.fixture
def start(tmp_path):
    runs = []

    def begin(**programs):
        runs.append(Run(tmp_path, **programs))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def test_ctrl_c_ends_all_and_says_so_in_the_status(start):
    run = start(a=SLEEP, b=SLEEP)
    pids = run.wait_running('a', 'b')
    run.end()
    assert run.process.returncode == 0
    assert not any(alive(pid) for pid in pids)
    assert (run.status().state, run.status().exit_code) == ('ended', 0)


def test_crash_is_announced_with_its_reason_and_the_process_is_started_again(start):
    run = start(driver='raise ValueError("no such port")')
    wait_for(lambda: (p := run.part('driver')) and p.restarts >= 2, 20, 'two restarts')
    part = run.part('driver')
    assert part.exit_reason == 'exit code 1'
    assert part.last_stderr == 'ValueError: no such port'
    output = run.end()
    assert 'driver: exit code 1' in output and 'ValueError: no such port' in output
    assert 'restart 2' in output


def test_killed_process_is_reported_by_the_name_of_the_signal(start):
    run = start(driver=SLEEP)
    (pid,) = run.wait_running('driver')
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: (p := run.part('driver')).restarts == 1 and p.pid, 10, 'the restart')
    assert run.part('driver').exit_reason == 'killed by SIGKILL'
    assert run.part('driver').pid != pid
    run.end()


def test_refused_configuration_stops_everything_with_exit_code_1_and_its_line(start):
    run = start(good=SLEEP, bad='import sys; sys.exit("bad.yaml: port = -1: expected a port")')
    output, _ = run.process.communicate(timeout=15)
    assert run.process.returncode == 1
    assert output.count('bad refused to start: bad.yaml: port = -1: expected a port') == 1
    assert run.part('bad').state == 'config error' and run.part('bad').restarts == 0


def test_stubborn_processes_and_their_children_are_killed_at_the_end_of_the_ladder(start):
    run = start(stubborn=STUBBORN)
    wait_for(lambda: run.log('stubborn').count(' out ready ') == 2, 10, 'parent and child')
    (pid,) = run.wait_running('stubborn')
    child = child_of(run)
    output = run.end()
    assert not alive(pid) and not alive(child)
    assert (
        'stubborn: still there, SIGTERM' in output and 'stubborn: still there, SIGKILL' in output
    )
    assert STOP_LADDER[-1] == (
        4.5,
        signal.SIGKILL,
    )  # all are gone within the promised five seconds


def test_no_process_outlives_a_supervisor_that_was_killed(start):
    run = start(plain=SLEEP, stubborn=STUBBORN)
    wait_for(lambda: run.log('stubborn').count(' out ready ') == 2, 10, 'parent and child')
    pids = [*run.wait_running('plain', 'stubborn'), child_of(run)]
    run.process.kill()
    run.process.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids), 10, 'no process is left')


def test_children_of_a_crashed_process_do_not_stay(start):
    run = start(parent=STUBBORN + '\n')
    wait_for(lambda: run.log('parent').count(' out ready ') == 2, 10, 'parent and child')
    (pid,) = run.wait_running('parent')
    child = child_of(run, 'parent')
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(child), 10, 'the child is gone')
    run.end()


def test_lines_have_times_and_streams_in_the_log(start):
    code = 'import sys; print("out"); sys.stderr.write("half"); sys.stderr.flush(); ' + SLEEP
    run = start(talker=code)
    wait_for(lambda: ' out out\n' in run.log('talker'), 10, 'the line')
    run.end()
    assert ' err half' in run.log('talker')  # never ended, still there
    assert run.log('talker')[:2] == '20'


def test_programs_that_cannot_be_started_are_one_clear_error(tmp_path):
    from vla_cli.supervisor.child import Program
    from vla_cli.supervisor.loop import Supervisor
    from vla_core.errors import VlaError

    supervisor = Supervisor([Program('x', (str(tmp_path / 'missing'),))], tmp_path)
    with pytest.raises(VlaError, match='x: cannot start .*missing'):
        supervisor.run()


def child_of(run, name='stubborn'):
    """The pid that the forked program printed."""
    words = [line.split()[-1] for line in run.log(name).splitlines() if ' out ready ' in line]
    return next(int(word) for word in words if word.isdigit())
