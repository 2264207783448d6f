"""Corrections of a checkpoint: it drives in the simulated lab, the demonstrator answers each tick.

DAgger (Ross, Gordon, Bagnell, AISTATS 2011): a policy cloned from demonstrations knows only what
a demonstrator meets; here it is told what to do about what it gets itself into. Called by
`vla dagger`, in several processes. Deterministic: an episode follows from its seed and the
options. Deliberately trains nothing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
import functools
from pathlib import Path

import numpy as np

from vla_core.errors import VlaError
from vla_policy.checkpoint import read_manifest
from vla_sim.scene import WIDE_JITTER
from vla_sim.scripted_values import BESIDE_A_LEARNER
from vla_training.dagger.teacher import Driver, TaughtPolicy
from vla_training.data import corrections
from vla_training.evaluation.evaluate import run_one
from vla_training.evaluation.options import Delays, EvaluationOptions
from vla_training.evaluation.policies import CheckpointPolicy, Policy
from vla_training.evaluation.workers import work_through
from vla_training.simulation.seeds import keep_apart

_SHARES = ('teacher_share', 'hampered_share', 'moving_share', 'nominal_share', 'wide_share')


@dataclass(frozen=True)
class DaggerOptions:
    """What the episodes are like; each draws its own setting from its seed."""

    teacher_share: float = 0.15  # of episodes that the demonstrator drives, pushed off at times
    hampered_share: float = 0.5  # of those that he drives from what a learner can see
    moving_share: float = 0.8  # of episodes whose eye moves
    nominal_share: float = 0.6  # of episodes with the nominal delay; the others draw one
    delay_s: tuple[float, float] = (0.0, 0.8)  # of a pass, where it is drawn
    wide_share: float = 0.3  # of episodes whose cameras are off by three times the usual jitter

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise VlaError(f'{name} {getattr(self, name)}: expected a number from 0 to 1')
        if self.teacher_share + self.hampered_share > 1.0:
            raise VlaError('teacher_share and hampered_share: expected no more than 1 together')

    def draw(self, seed: int) -> tuple[EvaluationOptions, Driver]:
        """The setting of an episode, and who drives."""
        rng = np.random.default_rng([seed, 0xDA66])
        driver, moving, nominal, overlap = rng.random(4)
        delay_s = float(rng.uniform(*self.delay_s))
        delays = Delays()
        if nominal >= self.nominal_share:
            delays = Delays(vlm_delay_s=delay_s, overlap=bool(overlap < 0.5))
        setting = EvaluationOptions(
            delays, 'moving' if moving < self.moving_share else 'still',
            camera_jitter=WIDE_JITTER if rng.random() < self.wide_share else 1.0,
        )  # fmt: skip
        if driver < self.teacher_share:
            return setting, Driver.DEMONSTRATOR
        hampered = driver < self.teacher_share + self.hampered_share
        return setting, Driver.HAMPERED if hampered else Driver.POLICY


@dataclass(frozen=True)
class Collected:
    """What became of one seed."""

    seed: int
    ticks: int  # that were kept
    driver: Driver
    reason: str  # how the episode ended


def collect(
    checkpoint: Path, folder: Path, seeds: range, options: DaggerOptions, jobs: int,
    progress: Callable[[Collected], None],
    make: Callable[[], Policy] | None = None,
) -> int:  # fmt: skip
    """Write the corrections of the seeds that `folder` lacks; return how many there were already.

    VlaError for seeds of an evaluation, and where the folder holds another encoder's, another
    demonstrator's answers, or what another policy or other options led to.
    """
    keep_apart(seeds, 'vla dagger')
    corrections.claim(folder, checkpoint, asdict(BESIDE_A_LEARNER))
    policy = read_manifest(checkpoint).checkpoint_hash
    corrections.note_setting(folder, {'policy': policy, **asdict(options)})
    missing = [seed for seed in seeds if not corrections.is_written(folder, _name(seed))]
    make = make or functools.partial(CheckpointPolicy, checkpoint)
    taught = functools.partial(_taught, make)
    run = functools.partial(_one, folder, options)
    for one in work_through(taught, run, missing, jobs):
        progress(one)
    return len(seeds) - len(missing)


def _taught(make: Callable[[], Policy]) -> TaughtPolicy:
    return TaughtPolicy(make())


def _one(folder: Path, options: DaggerOptions, policy: TaughtPolicy, seed: int) -> Collected:
    setting, policy.driver = options.draw(seed)
    result = run_one(seed, policy, setting)
    corrections.write(folder, _name(seed), policy.kept)
    return Collected(seed, len(policy.kept), policy.driver, result.reason)


def _name(seed: int) -> str:
    return f'insert_{seed:06d}'
