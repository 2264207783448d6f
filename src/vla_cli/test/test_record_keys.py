"""`vla record` by keys: a process on a pseudo-terminal, with a recorder of its own."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pytest
from sensor_msgs.msg import JointState

from vla_cli.episodes.keyboard import Keyboard
from vla_data.tagging import read_info
from vla_ros import convert, qos
from vla_ros.testing import Listener, ros_context, ros_domain, spinning

LIMIT_S = 40.0


class Terminal:
    """A process whose terminal is ours. `screen` is all it has written."""

    def __init__(self, *argv, columns=200):
        self.main, other = pty.openpty()
        self.resize(columns)
        self.screen = ''
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'vla_cli.main', *(str(word) for word in argv)],
            stdin=other, stdout=other, stderr=other, start_new_session=True)  # fmt: skip
        os.close(other)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.wait()
        if self.main is not None:
            os.close(self.main)

    def resize(self, columns):
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))

    def press(self, keys):
        os.write(self.main, keys.encode())

    def wait_for(self, text, after=0):
        """Return where `text` ends on the screen, looked for from `after` on."""
        end_s = time.monotonic() + LIMIT_S
        while (found := self.screen.find(text, after)) < 0:
            assert time.monotonic() < end_s, f'no {text!r} in {self.screen[after:][-300:]!r}'
            self._read(0.1)
        return found + len(text)

    def ended(self):
        """Wait for the end; return the exit code."""
        end_s = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < end_s, self.screen[-500:]
            self._read(0.1)
        return self.process.returncode

    def hang_up(self):
        """Close the terminal."""
        os.close(self.main)
        self.main = None

    def _read(self, seconds):
        if select.select([self.main], [], [], seconds)[0]:
            try:
                self.screen += os.read(self.main, 65536).decode(errors='replace')
            except OSError:  # Linux: nobody has the other side any more
                time.sleep(0.01)


@pytest.fixture
def robot():
    """Somebody publishes while the test runs."""
    with ros_context():
        node = Listener()
        publisher = node.create_publisher(JointState, 'robot/joint_states', qos.SENSOR_STREAM)
        node.create_timer(
            0.02, lambda: publisher.publish(convert.joint_state(time.time_ns(), ['a'], [0.0]))
        )
        with spinning(node):
            yield


def outcomes(folder):
    return [read_info(episode).outcome for episode in sorted(folder.iterdir())]


def test_keys_start_judge_discard_and_end_episodes(robot, tmp_path):
    out = tmp_path / 'out'
    with Terminal('record', '--out', out, '--task', 'insert') as terminal:
        at = terminal.wait_for('space: start')
        for key, said in (('s', ': success'), ('f', ': failure'), ('d', 'discarded: ')):
            terminal.press(' ')
            at = terminal.wait_for('REC ', at)
            terminal.press(key)
            at = terminal.wait_for('space: start', terminal.wait_for(said.strip(': '), at))
        terminal.press(' ')
        at = terminal.wait_for('REC ', at)
        terminal.press('q')
        assert terminal.ended() == 0
    assert outcomes(out) == ['success', 'failure', 'discarded', 'aborted']


def test_keys_that_were_typed_ahead_are_not_lost(robot, tmp_path):
    with Terminal('record', '--out', tmp_path / 'out') as terminal:
        terminal.wait_for('space: start')
        terminal.press(' sq')
        assert terminal.ended() == 0
    assert outcomes(tmp_path / 'out') == ['success']


def test_the_status_line_fits_the_terminal_as_it_is_now(robot, tmp_path):
    with Terminal('record', '--out', tmp_path / 'out', columns=200) as terminal:
        at = terminal.wait_for('space: start   q: end')
        terminal.resize(12)
        terminal.wait_for('\x1b[Kspace: star\r', at)
        terminal.press('q')
        assert terminal.ended() == 0


def test_without_a_terminal_one_line_says_what_to_give(tmp_path):
    ros_domain()
    done = subprocess.run(
        [sys.executable, '-m', 'vla_cli.main', 'record', '--out', str(tmp_path)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        'vla record: without a terminal give --seconds S (and --episodes N)'
    ]


def test_the_terminal_is_put_back_and_its_end_is_told(monkeypatch):
    main, other = pty.openpty()
    before = termios.tcgetattr(other)
    with os.fdopen(other) as stdin:
        monkeypatch.setattr(sys, 'stdin', stdin)
        with Keyboard() as keyboard:
            os.write(main, b'ab')
            assert [keyboard.key(), keyboard.key(), keyboard.key()] == ['a', 'b', '']
        assert termios.tcgetattr(other) == before
    os.close(main)
