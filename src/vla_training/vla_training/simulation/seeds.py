"""Which simulated scenes are for what: none that an evaluation measures is learned from.

Asked by whatever records or collects. Demonstrations begin at 100000, corrections at 300000,
rendered scenes at 50000000 (`tools/nano.sh`, pretrain/scenes.py); below 1000 is for trying out.
"""

from vla_core.errors import VlaError

EVALUATION_SEEDS = range(1000, 100_000)


def keep_apart(seeds: range, verb: str) -> None:
    """VlaError where some of `seeds` are for evaluation."""
    if seeds and seeds.start < EVALUATION_SEEDS.stop and seeds.stop > EVALUATION_SEEDS.start:
        raise VlaError(
            f'{verb}: seeds {seeds[0]} to {seeds[-1]}: {EVALUATION_SEEDS[0]} to '
            f'{EVALUATION_SEEDS[-1]} are for evaluation and never learned from; choose another '
            f'--seed, from {EVALUATION_SEEDS.stop} on'
        )
