"""Pass or fail of an episode's measured streams against the contract.

Called by `check`. What the control loop would have held or stopped for fails; what it would have
marked is a warning. Thresholds are the contract's age limits; the others are below, with reason.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.freshness import FUTURE_TOLERANCE_S, Limits
from vla_data.quality.streams import StreamQuality

# The window is resampled with a tolerance of 0.75 periods; a source 5 % off its rate no longer
# gives one sample a slot.
RATE_TOLERANCE = 0.05
# One lost datagram of 15 in 10 s is 0.2 %; 1 % is a broken network.
LOSS_FAILS = 0.01
BROKEN_FAILS = 0.01
# Clocks of the lab agree within 20 ms; beyond 100 ms alignment is wrong by a camera's half period.
CLOCK_WARNS_MS, CLOCK_FAILS_MS = 20.0, 100.0


@dataclass(frozen=True)
class Verdict:
    """One thing that is wrong with an episode."""

    level: Literal['fail', 'warn']
    stream: str
    kind: str  # a slug to search by: 'stale', 'rate', 'absent', ...
    text: str


def judge_absent(name: str, topic: str, why: str) -> Verdict:
    """A stream that the contract needs is not there."""
    return Verdict('fail', name, 'absent', f'{topic}: {why}')


def judge_stream(
    quality: StreamQuality, limits: Limits, may_rest: bool, derived: bool = False
) -> list[Verdict]:
    """Judge what all streams have in common.

    `may_rest`: standing still is no fault (a robot), so only silence counts, not equal content.
    `derived`: the stamp is that of an input, so neither the clock nor equal stamps are judged.
    """
    found: list[Verdict] = []

    def tell(level: Literal['fail', 'warn'], kind: str, text: str) -> None:
        found.append(Verdict(level, quality.name, kind, text))

    stale = quality.max_gap_s if may_rest else quality.max_stale_s
    if stale is not None and stale > limits.mark_s:
        level: Literal['fail', 'warn'] = 'fail' if stale > limits.hold_s else 'warn'
        limit = limits.hold_s if level == 'fail' else limits.mark_s
        tell(level, 'stale', f'{stale:.3f} s without new content, limit {limit:g} s')
    if quality.broken:
        share = quality.broken / max(1, quality.count)
        level = 'fail' if share > BROKEN_FAILS else 'warn'
        tell(level, 'broken', f'{quality.broken} of {quality.count} items cannot be used')
    if quality.duplicates and not derived:
        tell('warn', 'duplicates', f'{quality.duplicates} items with the stamp of another')
    if quality.disordered:
        tell('warn', 'disordered', f'{quality.disordered} items older than one before them')
    if quality.frozen and not may_rest:
        tell('warn', 'frozen', f'{quality.frozen} items without new content')
    return found if derived else found + _judge_clock(quality)


def judge_sensor(quality: StreamQuality, contract: Contract) -> list[Verdict]:
    """Judge what only the sensor has: nominal rate, width, losses."""
    spec, found = contract.sensor, []
    if quality.channels is not None and quality.channels != spec.channels:
        text = f'{quality.channels} channels, the contract wants {spec.channels}'
        found.append(Verdict('fail', quality.name, 'channels', text))
    rate = quality.median_hz
    if rate is not None and abs(rate / spec.rate_hz - 1) > RATE_TOLERANCE:
        text = f'{rate:.1f} Hz, the contract says {spec.rate_hz:g} Hz'
        found.append(Verdict('fail', quality.name, 'rate', text))
    return found


def judge_loss(quality: StreamQuality) -> list[Verdict]:
    """Judge what is missing by the counters."""
    if not quality.lost:
        return []
    share = quality.lost / (quality.count + quality.lost)
    level: Literal['fail', 'warn'] = 'fail' if share > LOSS_FAILS else 'warn'
    text = f'{quality.lost} lost, {100 * share:.2f} %'
    return [Verdict(level, quality.name, 'loss', text)]


def judge_skew(skew_s: NDArray[np.float64], limits: Limits) -> list[Verdict]:
    """Judge how far the views of one moment lie apart; skew_s (N,) at the ticks."""
    if not len(skew_s):
        return []
    high = float(np.percentile(skew_s, 95))
    if high <= limits.mark_s:
        return []
    level: Literal['fail', 'warn'] = 'fail' if high > limits.hold_s else 'warn'
    return [Verdict(level, 'views', 'skew', f'views {high:.2f} s apart (95th percentile)')]


def _judge_clock(quality: StreamQuality) -> list[Verdict]:
    if quality.clock_ms is None:
        return []
    offset = quality.clock_ms
    if offset < -FUTURE_TOLERANCE_S * 1e3 or offset > CLOCK_FAILS_MS:
        level: Literal['fail', 'warn'] = 'fail'
    elif offset < -1.0 or (quality.delay_ms or 0.0) > CLOCK_FAILS_MS:
        level = 'warn'
    else:
        return []
    text = (
        f'logged {offset:+.1f} ms after the stamp at least, {quality.delay_ms:+.1f} ms at the '
        'median: a clock is off, or the transport slow'
    )
    return [Verdict(level, quality.name, 'clock', text)]
