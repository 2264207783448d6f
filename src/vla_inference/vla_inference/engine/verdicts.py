"""The judgement of all inputs of one tick: use, mark, hold or stop, and why.

Called by the input buffers at every tick. Pure functions of what has arrived; deliberately hold no
state, so nothing latches: as soon as an input is fresh again, so is its verdict.
"""

from dataclasses import dataclass

from vla_core.contract import Contract
from vla_core.freshness import judge, Limits, Reaction, Verdict
from vla_core.timebase import NS
from vla_inference.engine.records import FeatureSet

# The seed's table of normal ranges: 60-65 of 65 samples are good, fewer than 30 a problem.
MARK_BELOW_FILL = 60 / 65
HOLD_BELOW_FILL = 30 / 65


@dataclass(frozen=True)
class Arrived:
    """What has come by one tick. Times are of the newest NEW content, None where nothing came."""

    sensor_ns: int | None
    robot_ns: int | None
    features: FeatureSet | None
    refusal: tuple[str, int] | None  # why features were refused, and when
    task: str
    task_ns: int  # when the task came into force
    fill: float


def judge_all(contract: Contract, arrived: Arrived, tick_ns: int) -> tuple[Verdict, ...]:
    """Judge images, features, task, sensor and robot by the contract's limits."""
    return (
        *_judge_features(contract, arrived, tick_ns),
        _judge_window(contract, arrived, tick_ns),
        judge('robot', _age_s(tick_ns, arrived.robot_ns), contract.state.limits),
    )


def _judge_features(contract: Contract, arrived: Arrived, tick_ns: int) -> list[Verdict]:
    limits, features = contract.features.limits, arrived.features
    verdict = judge(
        'features', _age_s(tick_ns, features.published_ns if features else None), limits
    )
    refused = _refused(arrived, limits, tick_ns, verdict.reaction)
    if features is None:
        return [refused or verdict]  # without features nothing is known about images either
    stamps = features.view_stamps_ns
    oldest = stamps.index(min(stamps))
    return [
        judge(
            f'images {features.views[oldest]}',
            _age_s(tick_ns, stamps[oldest]),
            contract.images.limits,
        ),
        verdict,
        *([refused] if refused else []),
        *([_judge_task(arrived, limits, tick_ns)] if features.task != arrived.task else []),
    ]


def _refused(arrived: Arrived, limits: Limits, tick_ns: int, reaction: Reaction) -> Verdict | None:
    """Refused features hold the robot only when there are no good ones; either way they are shown
    while they come.
    """
    if arrived.refusal is None:
        return None
    text, at_ns = arrived.refusal
    if (tick_ns - at_ns) / NS > limits.stop_s:
        return None
    level = Reaction.HOLD if reaction >= Reaction.HOLD else Reaction.MARK
    return Verdict('features', level, f'features: refused, {text} ({level.name.lower()})')


def _judge_task(arrived: Arrived, limits: Limits, tick_ns: int) -> Verdict:
    """Features of another task are context still, but not for long."""
    assert arrived.features is not None
    by_age = judge('task', max(0.0, (tick_ns - arrived.task_ns) / NS), limits)
    level = max(by_age.reaction, Reaction.MARK)
    made_for = arrived.features.task
    text = f"task: features are for '{made_for}', current '{arrived.task}' ({level.name.lower()})"
    return Verdict('task', level, text, by_age.age_s)


def _judge_window(contract: Contract, arrived: Arrived, tick_ns: int) -> Verdict:
    verdict = judge('sensor', _age_s(tick_ns, arrived.sensor_ns), contract.sensor.limits)
    level = Reaction.USE
    if arrived.fill < MARK_BELOW_FILL:
        level = Reaction.HOLD if arrived.fill < HOLD_BELOW_FILL else Reaction.MARK
    if level <= verdict.reaction:
        return verdict
    limit = HOLD_BELOW_FILL if level is Reaction.HOLD else MARK_BELOW_FILL
    text = f'sensor: window {arrived.fill:.0%} full < {limit:.0%} ({level.name.lower()})'
    return Verdict('sensor', level, text, verdict.age_s)


def _age_s(tick_ns: int, stamp_ns: int | None) -> float | None:
    return None if stamp_ns is None else (tick_ns - stamp_ns) / NS
