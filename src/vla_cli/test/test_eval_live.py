"""An episode of the live graph ends as its task ended; stubs are task server and simulator."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from vla_cli.evaluation import live
from vla_cli.examples.live import Operator
from vla_core.errors import VlaError
from vla_sim.testing import truth_sample
from vla_training.evaluation.watch import TruthWatch

NS = 1_000_000_000
STACK = SimpleNamespace(running=lambda: True)


HOLDING = {
    'depth_m': 0.0165, 'tissue_depth_m': 0.0175, 'inside': True, 'commanded_speed_m_s': 0.005,
}  # fmt: skip


@dataclass
class Link:
    """A task that ends so after `held_s` at the depth; the truth goes on while it is heard."""

    watch: TruthWatch
    outcome: str
    held_s: float = 0.5
    interrupted: bool = False
    now_s: float = field(default=1.0, init=False)

    def execute(self, instruction, timeout_s, stop=lambda: False):
        self.spin(self.held_s, stop)
        if self.outcome == 'ERROR':
            self.spin(2.0)  # nobody answers
            raise VlaError('no answer')
        return SimpleNamespace(outcome='CANCELED' if stop() else self.outcome)

    def spin(self, seconds, stop=lambda: False):
        end_s = self.now_s + seconds
        while self.now_s < end_s and not stop():
            self.watch.take(truth_sample(round(self.now_s * NS), **HOLDING))
            self.now_s += 0.01


def episode(outcome, limit_s=25.0, **values):
    watch = TruthWatch(1000, limit_s)
    return live._insert(Link(watch, outcome, **values), STACK, watch, limit_s)


@pytest.mark.parametrize(
    ('outcome', 'held_s', 'reason'),
    [
        ('GATE_STOP', 0.5, 'task server: gate_stop'),
        ('ERROR', 0.5, 'the task was not carried out: no answer'),
        ('SUCCESS', 0.5, 'success'),
        ('GATE_STOP', 1.5, 'success'),  # the truth was there first
    ],
)
def test_who_stands_at_the_depth_after_another_end_has_not_succeeded(outcome, held_s, reason):
    result = episode(outcome, held_s=held_s)
    assert result.reason == reason and result.success is (reason == 'success')


def test_a_task_server_that_is_content_too_early_is_a_failure(monkeypatch):
    monkeypatch.setattr(live, 'AFTER_S', 0.1)
    result = episode('SUCCESS')
    assert not result.success and result.reason == 'task server: success'


def test_a_robot_that_runs_out_of_time_is_not_called_a_task_that_was_not_carried_out(monkeypatch):
    monkeypatch.setattr(live, 'LATE_S', -30.0)
    assert episode('ERROR', held_s=0.0).reason == 'time-out'


def test_ctrl_c_ends_the_evaluation_once_the_task_is_cancelled():
    with pytest.raises(KeyboardInterrupt):
        episode('CANCELED', interrupted=True)
    link = SimpleNamespace(interrupted=True, execute=lambda *args, **kw: None)
    operator = Operator(link, STACK)
    operator.enable = lambda: None
    with pytest.raises(KeyboardInterrupt):
        operator.task('insert')
