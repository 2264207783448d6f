"""The slow side of an episode: when a pass begins, what it sees, and when its features are there.

Used by `episode`. What is taken away from the policy's eyes (`--images`) is taken away here.
Deliberately no clock: the devices say how late it is.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.timebase import s_to_ns
from vla_inference.engine.records import FeatureSet
from vla_sim.scene_cameras import encode_jpeg
from vla_training.evaluation.options import EvaluationOptions, INSTRUCTION
from vla_training.evaluation.policies import Policy
from vla_training.simulation.command import SLOT_NS
from vla_training.simulation.devices import SimulatedDevices


class Passes:
    """Passes of the model, one after another or overlapping, as the options say."""

    def __init__(self, policy: Policy, options: EvaluationOptions, contract: Contract) -> None:
        self._policy, self._options, self._contract = policy, options, contract
        self._under_way: list[FeatureSet] = []
        self._first: NDArray[np.float16] | None = None
        self._next_ns, self._count = 0, 0

    def look(self, devices: SimulatedDevices, done: Callable[[FeatureSet], None]) -> None:
        """Begin a pass when it is due, and hand over those that are done."""
        now_ns = devices.now_ns
        if now_ns >= self._next_ns:
            seen = self._pictures(devices)
            if seen is not None:
                self._begin(now_ns, *seen)
                begun_ns = max(self._next_ns, now_ns - SLOT_NS)
                self._next_ns = begun_ns + s_to_ns(self._options.delays.pass_period_s)
        while self._under_way and self._under_way[0].published_ns <= now_ns:
            done(self._under_way.pop(0))

    def _pictures(self, devices: SimulatedDevices) -> tuple[int, dict[str, bytes]] | None:
        if self._policy.needs_pictures:
            return devices.newest_pictures()
        stamp_ns = devices.newest_trigger_ns()
        return None if stamp_ns is None else (stamp_ns, {})

    def _begin(self, now_ns: int, stamp_ns: int, jpegs: dict[str, bytes]) -> None:
        options = self._options
        if options.images == 'black':
            black = np.zeros((options.height, options.width, 3), np.uint8)
            jpegs = dict.fromkeys(jpegs, encode_jpeg(black))
        if options.images == 'frozen' and self._first is not None:
            tokens = self._first
        else:
            tokens = self._policy.see(jpegs, INSTRUCTION)
        self._first = tokens if self._first is None else self._first
        self._count += 1
        views = self._contract.view_names
        self._under_way.append(
            FeatureSet(
                self._count, tokens, INSTRUCTION, self._policy.checkpoint_hash,
                self._contract.hash, views, (stamp_ns,) * len(views), now_ns,
                now_ns + s_to_ns(options.delays.vlm_delay_s),
            )
        )  # fmt: skip
