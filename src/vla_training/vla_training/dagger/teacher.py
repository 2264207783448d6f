"""The demonstrator beside a policy: who drives, and what is kept of each tick.

Used by `collect` as the policy of an evaluation's episode, so that inputs, delays, gate and
executor are those of closed-loop evaluation. Deliberately writes nothing.
"""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vla_core.execution.continuation import Prefix
from vla_core.model_input import ModelInput
from vla_core.rotation import rotate
from vla_policy.expert.batch import ExpertBatch
from vla_sim.disturbance import Disturber
from vla_sim.scripted import ScriptedExpert
from vla_sim.scripted_values import BESIDE_A_LEARNER, Goal, Sight
from vla_training.dagger.hampered import HamperedDemonstrator
from vla_training.data.corrections import Correction
from vla_training.evaluation.policies import Policy
from vla_training.pretrain.labels import relative_pose

# Ticks at the opening are all kept: there a tenth of a millimetre decides. Of the others, a share.
_NEAR_M, _PAST_M = 0.020, 0.001
ELSEWHERE = 0.35


class Driver(Enum):
    """Whose chunks are executed."""

    POLICY = 'policy'
    DEMONSTRATOR = 'demonstrator'  # pushed off his way now and then
    HAMPERED = 'hampered'  # see HamperedDemonstrator


class TaughtPolicy:
    """A policy with a demonstrator who answers every tick too."""

    def __init__(self, learner: Policy) -> None:
        self._learner = learner
        self.contract, self.checkpoint_hash = learner.contract, learner.checkpoint_hash
        self.passes, self.needs_pictures = learner.passes, learner.needs_pictures
        self.driver = Driver.POLICY

    def reset(self, seed: int) -> None:
        """See `Policy`."""
        self._learner.reset(seed)
        self.kept: list[Correction] = []
        # He answers with the speed he wants, whatever the tool's is: a policy that is told to go
        # on as it goes learns to copy itself.
        self._teacher = ScriptedExpert(seed, BESIDE_A_LEARNER)
        self._hampered = HamperedDemonstrator(seed)
        self._disturber = Disturber(np.random.default_rng([seed, 0xD157]))
        self._rng = np.random.default_rng([seed, 0xDA6])

    def see(self, jpegs: dict[str, bytes], task: str) -> NDArray[np.float16]:
        """See `Policy`."""
        return self._learner.see(jpegs, task)

    def act(
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int,
        prefix: Prefix | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """See `Policy`: the chunk of who drives; what the demonstrator says is kept."""
        plan = self._teacher.plan(sight, Goal.INSERT)
        if self._rng.random() < _worth(sight):
            truth = np.concatenate([_pose(sight), self._teacher.eye_motion])
            seen = ExpertBatch.from_input(tokens, inputs)
            self.kept.append(Correction(seen, plan.delta, truth))
        if self.driver is Driver.DEMONSTRATOR:
            return self._disturber.disturb(plan, sight)
        if self.driver is Driver.HAMPERED:
            return self._hampered.drive(sight, float(inputs.image_age_s[0]))
        return self._learner.act(tokens, inputs, sight, seed, prefix)


def _pose(sight: Sight) -> NDArray[np.float64]:
    """The trocar's pose (6,) from the needle, see labels.POSE."""
    along = np.array([0.0, 0.0, 1.0])
    axis, needle = rotate(sight.trocar_xyzw, along), rotate(sight.tip_xyzw, along)
    return relative_pose(sight.tip_m, needle, sight.opening_m, axis)


def _worth(sight: Sight) -> float:
    """Probability that a tick is kept."""
    return 1.0 if -_NEAR_M < sight.local_m[2] < _PAST_M else ELSEWHERE
