"""Which episodes train and which validate: decided by episode, before any weighting.

Used by `vla train`. Each episode's side follows from its own start time and the seed alone, so
adding episodes moves none of the others. Two recordings that began at the same instant show one
simulated scene (with and without disturbance, say) and stay on one side: otherwise the policy
would be validated on scenes it has seen. Deliberately looks at no sample.
"""

from collections.abc import Sequence
import hashlib
from pathlib import Path

from vla_core.errors import VlaError
from vla_data.tagging import read_info


def split_episodes(
    paths: Sequence[Path], validation_share: float, seed: int = 0
) -> tuple[list[Path], list[Path]]:
    """Return the training and the validation episodes, each in the given order.

    At least one scene trains, and one validates where `validation_share` > 0. VlaError where there
    are too few for that, or the share is not in [0, 1).
    """
    if not 0.0 <= validation_share < 1.0:
        raise VlaError(f'validation share {validation_share}: expected a number from 0 to below 1')
    if not paths:
        raise VlaError('there are no episodes to train on')
    if validation_share == 0.0:
        return list(paths), []
    scenes = [scene_of(Path(path)) for path in paths]
    draws = {scene: _draw(scene, seed) for scene in scenes}
    if len(draws) < 2:
        raise VlaError('validation needs episodes of at least two scenes; record more')
    held = {scene for scene, draw in draws.items() if draw < validation_share}
    if not held:
        held = {min(draws, key=lambda scene: draws[scene])}
    if len(held) == len(draws):
        held.discard(max(draws, key=lambda scene: draws[scene]))
    sides: tuple[list[Path], list[Path]] = ([], [])
    for path, scene in zip(paths, scenes):
        sides[scene in held].append(path)
    return sides


def split_names(
    paths: Sequence[Path], validation_share: float, seed: int = 0
) -> tuple[list[Path], list[Path]]:
    """Do the same for files whose name tells the scene; either side may be empty."""
    held = {path for path in paths if _draw(path.name, seed) < validation_share}
    return [path for path in paths if path not in held], [p for p in paths if p in held]


def scene_of(path: Path) -> str:
    """What an episode has in common with others of its scene: start time, else the name."""
    started_ns = read_info(path).started_ns
    return str(started_ns) if started_ns else path.name


def _draw(scene: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on nothing else."""
    digest = hashlib.sha256(f'{seed}:{scene}'.encode()).digest()
    return int.from_bytes(digest[:8], 'little') / 2**64
