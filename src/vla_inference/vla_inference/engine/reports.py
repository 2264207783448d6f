"""What the two nodes say about themselves on /diagnostics, from the engines' state.

Called once a second by the nodes' executor threads. The thresholds are parameters of the nodes.
Deliberately reads only snapshots and counters: nothing here may disturb a worker.
"""

from dataclasses import dataclass
import math

from vla_core.contract import Contract
from vla_core.freshness import Reaction
from vla_core.health import age_item, HealthItem, Level, worst_level
from vla_inference.engine.image_inbox import ImageInbox
from vla_inference.engine.input_buffers import InputBuffers
from vla_inference.engine.records import Chunk, FeatureSet

_LEVELS = {
    Reaction.USE: Level.OK,
    Reaction.MARK: Level.WARN,
    Reaction.HOLD: Level.ERROR,
    Reaction.STOP: Level.ERROR,
}


@dataclass(frozen=True)
class Rate:
    """A measured rate and the least one that is good, Hz."""

    hz: float
    warn_below_hz: float


def vlm_item(
    last: FeatureSet | None, rate: Rate, warn_total_s: float, values: dict[str, str]
) -> HealthItem:
    """The passes: rate and duration against their limits, stages of the last one."""
    if last is None:
        return HealthItem(
            'vlm', Level.STALE, 'no pass yet: waiting for an image of every view', values
        )
    total_s = last.stages_s.get('total', math.nan)
    stages = {f'{name}_ms': f'{seconds * 1e3:.1f}' for name, seconds in last.stages_s.items()}
    shown = {'task': last.task, 'feature_id': str(last.feature_id), **stages, **values}
    shown |= {'rate_hz': f'{rate.hz:.2f}', 'stale_views': ', '.join(last.stale_views) or 'none'}
    text = f'{rate.hz:.2f} Hz, {total_s * 1e3:.0f} ms'
    if rate.hz <= 0:
        return HealthItem('vlm', Level.STALE, 'no new images, so no pass', shown)
    if total_s > warn_total_s:
        return HealthItem('vlm', Level.WARN, f'{text} > {warn_total_s * 1e3:.0f} ms', shown)
    if rate.hz < rate.warn_below_hz:
        return HealthItem('vlm', Level.WARN, f'{text}; below {rate.warn_below_hz:g} Hz', shown)
    return HealthItem('vlm', Level.OK, text, shown)


def images_item(inbox: ImageInbox, contract: Contract, now_ns: int) -> HealthItem:
    """Age of every view by its newest content, and what happened to the images."""
    limits = contract.images.limits
    items = [age_item(view, age_s, limits) for view, age_s in inbox.view_ages_s(now_ns).items()]
    level = worst_level(items)
    bad = '; '.join(item.message for item in items if item.level is not Level.OK)
    values = {f'{item.name}_age_s': item.values['age_s'] for item in items}
    values |= {kind: str(count) for kind, count in inbox.counters.snapshot().items()}
    return HealthItem('images', level, bad or f'{len(items)} views fresh', values)


def actions_item(chunk: Chunk | None, rate: Rate, values: dict[str, str]) -> HealthItem:
    """The chunks: rate, durations, misses, and the reaction in force with its reasons."""
    if chunk is None:
        return HealthItem('actions', Level.STALE, 'no chunk yet', values)
    shown = {
        'rate_hz': f'{rate.hz:.2f}',
        'reaction': chunk.reaction.name,
        'reasons': '; '.join(chunk.reasons) or 'none',
        'task': chunk.task,
        'deadline_misses': str(chunk.deadline_misses),
        'inference_ms': f'{chunk.inference_s * 1e3:.1f}',
        'snapshot_ms': f'{chunk.snapshot_s * 1e3:.2f}',
        **values,
    }
    level, text = _LEVELS[chunk.reaction], f'{rate.hz:.2f} Hz, {chunk.reaction.name}'
    if chunk.reasons:
        text += f': {"; ".join(chunk.reasons)}'
    if rate.hz < rate.warn_below_hz:
        level, text = max(level, Level.WARN), f'{text}; below {rate.warn_below_hz:g} Hz'
    return HealthItem('actions', level, text, shown)


def inputs_item(buffers: InputBuffers, chunk: Chunk | None) -> HealthItem:
    """Ages at the last tick and what was refused, dropped or repaired on the way in."""
    values = {kind: str(count) for kind, count in buffers.counters.snapshot().items()}
    if chunk is None:
        return HealthItem('inputs', Level.STALE, 'no tick yet', values)
    line = chunk.lineage
    ages = {
        name: getattr(line, f'{name}_age_s') for name in ('image', 'feature', 'sensor', 'robot')
    }
    values |= {f'{name}_age_s': f'{age_s:.3f}' for name, age_s in ages.items()}
    values |= {
        'sensor_fill': f'{line.sensor_fill:.3f}',
        'sensor_samples': str(line.sensor_samples),
    }
    text = ', '.join(f'{name} {age_s:.2f} s' for name, age_s in ages.items())
    refused = buffers.counters.get('features_refused')
    if refused:
        text += f'; {refused} features of another model refused'
    return HealthItem('inputs', Level.WARN if refused else Level.OK, text, values)
