"""Decisions after an unexpected end."""

from vla_cli.supervisor.policy import decide, describe, End
from vla_core.stack_description import Respawn

RESPAWN = Respawn(delay_s=0.5, max_delay_s=4.0)


def end(returncode=-11, uptime_s=5.0, lives=1, failures=1, saw_traceback=False):
    return End(returncode, uptime_s, lives, failures, saw_traceback)


def test_delay_doubles_up_to_its_limit_for_any_number_of_failures():
    delays = [decide(end(failures=n), RESPAWN).delay_s for n in (1, 2, 3, 4, 5, 100_000)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_exit_code_1_at_the_first_start_without_traceback_is_a_refused_configuration():
    assert decide(end(returncode=1), RESPAWN).action == 'stop'


def test_exit_code_1_with_a_traceback_later_or_after_a_restart_is_a_crash():
    assert decide(end(returncode=1, saw_traceback=True), RESPAWN).action == 'respawn'
    assert decide(end(returncode=1, uptime_s=100.0), RESPAWN).action == 'respawn'
    assert decide(end(returncode=1, lives=2), RESPAWN).action == 'respawn'


def test_process_without_respawn_is_left():
    assert decide(end(), Respawn(enabled=False)).action == 'leave'


def test_ends_are_described_in_words():
    assert describe(3) == 'exit code 3'
    assert describe(-11) == 'killed by SIGSEGV'
    assert describe(-200) == 'killed by signal 200'
