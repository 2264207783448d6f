"""What the simulator sent, as JSON: the truth that receivers are compared with.

The supervisor writes it. `sent` means captured and handed to the wire; what the faults then did is
counted beside it, so received = sent - lost - corrupted - dropped + duplicated. Sensor counts are
samples.
"""

from collections.abc import Mapping
import json
import os
from pathlib import Path
import time
from typing import Any

from vla_sim.shared import ROBOT_COUNTERS, SharedState, STREAMS

VIEWS = tuple(name for name in STREAMS if name.startswith('view'))


def collect(shared: SharedState) -> dict[str, Any]:
    """All counts at this moment."""
    streams = {name: shared.counters(name).snapshot() for name in STREAMS}
    return {
        'updated_ns': time.time_ns(),
        'pid': os.getpid(),
        'robot_states_sent': streams['robot']['sent'],
        'sensor_samples_sent': streams['sensor']['sent'],
        'images_sent': {view: streams[view]['sent'] - streams[view]['dropped'] for view in VIEWS},
        'first_capture_ns': {name: counts['first_capture_ns'] for name, counts in streams.items()},
        'last_capture_ns': {name: counts['last_capture_ns'] for name, counts in streams.items()},
        'robot_commands': dict(zip(ROBOT_COUNTERS, shared.robot_counts.tolist())),
        'clock_steps': shared.clock_steps,
        'streams': {name: _without_stamps(counts) for name, counts in streams.items()},
    }


def _without_stamps(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in counts.items() if not name.endswith('_ns')}


def write(path: Path, shared: SharedState) -> None:
    """Replace the file at once: a reader never sees half of it."""
    part = path.with_name(path.name + '.part')
    part.write_text(json.dumps(collect(shared)))
    part.replace(path)
