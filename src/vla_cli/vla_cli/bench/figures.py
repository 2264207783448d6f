"""The figures of the live benchmark from records: rates, periods, ages, misses. Pure computing.

Ages are told at the moment of action: when the chunk is published, not when its tick began.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_cli.records import ChunkRecord, PassRecord, REACTIONS, STAGES
from vla_core.stats import percentiles

FULL = 0.99999  # sensor_fill is a float32


def vl_figures(passes: Sequence[PassRecord]) -> dict[str, Any]:
    """Rate and latency of the vision-language model; latency is from a pass's start to its
    publication.
    """
    times_ms = [record.total_s * 1e3 for record in passes]
    columns = zip(*(record.stages_s for record in passes))
    return {
        'vl_hz': rate_hz([record.published_ns for record in passes]),
        'vl_latency_ms': percentiles(times_ms, (50, 99)),
        'vl_image_age_ms': percentiles([_at_publication_ms(p) for p in passes], (50, 99)),
        'vl_stages_ms_p50': {
            name: float(np.median(column)) * 1e3 for name, column in zip(STAGES, columns)
        },
        'vl_passes': len(passes),
        'vl_passes_with_stale_views': sum(bool(record.stale_views) for record in passes),
    }


def action_figures(chunks: Sequence[ChunkRecord]) -> dict[str, Any]:
    """Rate, period between publications, misses, windows, reactions of the action expert."""
    published = np.array([record.published_ns for record in chunks], np.int64)
    full = [record.sensor_fill >= FULL for record in chunks]
    misses = chunks[-1].deadline_misses - chunks[0].deadline_misses if chunks else 0
    ticks = chunks[-1].chunk_id - chunks[0].chunk_id if chunks else 0
    reactions = Counter(REACTIONS[record.reaction] for record in chunks)
    return {
        'action_hz': rate_hz(published),
        'action_period_ms': percentiles(np.diff(published) / 1e6, (50, 99, 99.9, 100)),
        'action_total_ms': percentiles([record.total_s * 1e3 for record in chunks], (50, 99)),
        'deadline_misses': misses,
        'ticks': ticks,
        'deadline_miss_ratio': misses / ticks if ticks else None,
        'chunks_lost_on_topic': ticks - (len(chunks) - 1) if chunks else None,
        'window_full_ratio': sum(full) / len(full) if full else None,
        'reactions': {name: reactions.get(name, 0) for name in REACTIONS},
        'reasons': dict(Counter(_kind(r) for c in chunks for r in c.reasons).most_common(10)),
    }


def age_figures(
    chunks: Sequence[ChunkRecord], passes: Sequence[PassRecord], camera_period_s: float
) -> dict[str, Any]:
    """Ages at action, ms: p50, p99, max of every modality, and the floor of the images'."""
    ages = {
        'image_age_ms': [_since(c, min(c.view_stamps_ns, default=0)) for c in chunks],
        'feature_age_ms': [_since(c, c.features_ns) for c in chunks],
        'sensor_age_ms': [_since(c, c.sensor_last_ns) for c in chunks],
        'robot_age_ms': [_since(c, c.robot_ns) for c in chunks],
    }
    result: dict[str, Any] = {
        key: percentiles(values, (50, 99, 100)) for key, values in ages.items()
    }
    result['image_age_ms']['floor_p50'] = floor_p50_ms(chunks, passes, camera_period_s)
    return result


def floor_p50_ms(
    chunks: Sequence[ChunkRecord], passes: Sequence[PassRecord], camera_period_s: float
) -> float | None:
    """The least median image age at action that this camera period, VLM latency and VLM period
    allow.

        floor = L + max(P, C) / 2 + A

    L: median latency of a pass. At best a pass begins at the very moment its images are taken, all
    views at once, and its features are L old when they are published. P: mean period of the
    passes; until the next features come, the age grows by P, so a tick at a random moment finds it
    P / 2 older. C: camera period; passes that come more often than the cameras bring nothing new.
    A: median time from the tick, when the inputs are taken, to the publication of the chunk.
    Nothing is granted for exposure, transport, waiting for the slowest view or the phase between
    cameras and passes: those are what the measured age may lose.
    """
    if len(passes) < 2 or not chunks:
        return None
    latency_s = float(np.median([record.total_s for record in passes]))
    period_s = (passes[-1].published_ns - passes[0].published_ns) / 1e9 / (len(passes) - 1)
    action_s = float(np.median([(c.published_ns - c.tick_ns) / 1e9 for c in chunks]))
    return (latency_s + max(period_s, camera_period_s) / 2 + action_s) * 1e3


def rate_hz(stamps_ns: Sequence[int]) -> float | None:
    """Events per second between the first and the last."""
    if len(stamps_ns) < 2 or stamps_ns[-1] <= stamps_ns[0]:
        return None
    return float((len(stamps_ns) - 1) * 1e9 / (stamps_ns[-1] - stamps_ns[0]))


def _at_publication_ms(record: PassRecord) -> float:
    """Age of the oldest view when its features come: latency and all waiting before it."""
    return (record.published_ns - min(record.view_stamps_ns, default=record.published_ns)) / 1e6


def _since(chunk: ChunkRecord, stamp_ns: int) -> float:
    return (chunk.published_ns - stamp_ns) / 1e6 if stamp_ns else float('nan')


def _kind(reason: str) -> str:
    """'images: age 0.81 s > 0.60 s (hold)' -> 'images': numbers differ from tick to tick."""
    return reason.partition(':')[0]
