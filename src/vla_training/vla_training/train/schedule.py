"""The course of the learning rate: warm-up, hold, half a cosine.

A pure function of the step, so that a resumed run needs no memory of it.
"""

import math

from vla_training.train.config import OptimizerConfig


def learning_rate(peak: float, step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the rate of step 0..steps-1: never 0, `peak` after the warm-up, least at the end."""
    warm = round(config.warm_up * steps)
    if step < warm:
        return peak * (step + 1) / warm
    fall = warm + round(config.hold * steps)
    if step < fall:
        return peak
    least = min(config.least_learning_rate, peak)
    done = (step - fall + 1) / max(steps - fall, 1)
    return least + (peak - least) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
