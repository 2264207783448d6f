"""The rules on chunks in force and on what the executor made of them.

Used by the gate at every command. Deliberately does not trust the executor: a motion must belong
to a chunk that this gate let through since it was enabled.
"""

from vla_core.execution.values import Motion
from vla_core.safety.admission import Admission
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.rules import age_s, Finding, Grade, hold, judge_age, numbers
from vla_core.safety.values import Intervention


def check_motion(
    motion: Motion | None, admission: Admission, now_ns: int, limits: SafetyLimits
) -> tuple[Finding, ...]:
    """All that stands against executing `motion` now.

    Before the first chunk after an enable the robot holds without a time limit; after that,
    silence longer than chunk_stop_s stops it. A chunk that says HOLD breaks the silence.
    """
    found = tuple(Finding(Grade.HOLD, what) for what in admission.refusal)
    alive_s = age_s(now_ns, admission.alive_ns)
    if alive_s is None:
        return (*found, hold('no_chunk'))
    silent = judge_age('chunk_age', alive_s, limits.chunk_hold_s, limits.chunk_stop_s)
    if motion is None:
        return found + (silent or (hold('no_motion'),))
    if not admission.is_admitted(motion.chunk_id, motion.made_ns):
        found += (hold('unknown_chunk', float(motion.chunk_id)),)
    if any(finding.grade is Grade.STOP for finding in silent):
        found += silent
    else:
        found += judge_age('chunk_age', age_s(now_ns, motion.made_ns), limits.chunk_hold_s)
    if numbers(motion.velocity, (6,)) is None:
        found += (Finding(Grade.HOLD, Intervention('not_finite')),)
    return found
