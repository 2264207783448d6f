"""Runs the expert before the first tick, so that the first real one is as fast as the others.

Called when the expert's node is configured. Deliberately random inputs of the right shapes: the
result is thrown away.
"""

import time

import numpy as np

from vla_core.contract import Contract
from vla_core.model_input import ModelInput
from vla_inference.engine.records import Expert

ROUNDS = 5


def warm_up(
    expert: Expert,
    contract: Contract,
    feature_shape: tuple[int, int],
    passes: int = 1,
    realtime_chunking: bool = False,
) -> float:
    """Run the expert a few times; return the duration of the last, s. What it raises is not
    caught. `feature_shape` is of all `passes`. With real-time chunking it continues a chunk, as
    most ticks will.
    """
    sources = passes * len(contract.views)
    tokens = np.zeros(feature_shape, np.float16)
    inputs = ModelInput(
        window=np.zeros((contract.sensor.samples, contract.sensor.channels), np.float32),
        window_mask=np.ones(contract.sensor.samples, bool),
        state=np.zeros(contract.state.width, np.float32),
        state_age_s=0.0,
        image_age_s=np.zeros(sources, np.float32),
        view_motion=np.zeros((sources, 6), np.float32),
        feature_age_s=0.0,
    )
    prefix = np.zeros((contract.action.steps - 1, contract.action.dims))
    continued = (prefix, 1) if realtime_chunking else ()
    started_s = 0.0
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        expert.act(tokens, inputs, 0, *continued)
    return time.perf_counter() - started_s
