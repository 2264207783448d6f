"""The two sides of a run, to learn from and to validate: recordings, and corrections beside them.

Made by `sources` when the episodes are open. Deliberately opens no recording itself.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_core.errors import VlaError
from vla_policy.checkpoint import Manifest
from vla_training.cache.files import DAMAGED
from vla_training.data.corrected import CorrectionDataset
from vla_training.data.corrections import correction_files
from vla_training.data.dataset import EpisodeDataset
from vla_training.data.joined import JoinedDataset
from vla_training.data.split import split_names
from vla_training.train.config import TrainConfig

_NAMED = 10  # episodes in one line


@dataclass(frozen=True)
class Datasets:
    """Split by episode; no validation where none is wanted."""

    train: EpisodeDataset | JoinedDataset
    validation: EpisodeDataset | JoinedDataset | None
    recordings: tuple[EpisodeDataset, ...]  # of each side
    without_tick: tuple[Path, ...] = ()  # corrections that hold none

    def described(self) -> Iterator[str]:
        """Yield lines on what there is, and what is left out."""
        held = self.validation
        yield (
            f'{len(self.train.paths)} episodes with {len(self.train)} samples to learn from, '
            f'{len(held.paths) if held else 0} with {len(held) if held else 0} to validate'
        )
        counts = sum((Counter(side.counts) for side in self.recordings), Counter())
        if counts:
            texts = [f'{count} {kind.replace("_", " ")}' for kind, count in counts.items()]
            yield f'left out of the recordings: {", ".join(texts)}'
        empty = [path for side in self.recordings for path in side.empty] + [*self.without_tick]
        if empty:
            more = f' and {len(empty) - _NAMED} more' if len(empty) > _NAMED else ''
            names = ', '.join(map(str, empty[:_NAMED]))
            yield f'without a sample: {names}{more}'
        if isinstance(self.train, JoinedDataset) and isinstance(held, EpisodeDataset):
            yield 'data.corrections: none validates, the recordings do alone'


def with_corrections(
    config: TrainConfig, info: Manifest, recordings: tuple[EpisodeDataset, ...]
) -> Datasets:
    """Put what `vla dagger` collected beside the recordings, split in the same shares."""
    options, (train, *rest) = config.data, recordings
    held = rest[0] if rest else None
    if not options.corrections:
        return Datasets(train, held, recordings)
    files = correction_files([Path(path) for path in options.corrections], info.folder)
    used = [path for path in files if _has_tick(path)]
    learned, others = split_names(used, options.validation_share, options.split_seed)
    if not learned:
        raise VlaError(
            f'data.corrections: none to learn from; {len(others)} would validate and '
            f'{len(files) - len(used)} hold no tick: collect more with vla dagger'
        )

    def opened(paths: Sequence[Path]) -> CorrectionDataset:
        views, sensor = len(info.contract.views), options.sensor == 'normal'
        return CorrectionDataset(paths, views, train.options.passes, sensor=sensor)

    return Datasets(
        JoinedDataset(train, opened(learned)),
        JoinedDataset(held, opened(others)) if held is not None and others else held,
        recordings,
        tuple(path for path in files if path not in used),
    )


def _has_tick(path: Path) -> bool:
    """Whether an episode holds one; of what cannot be read opening it tells."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return len(file['actions']) > 0
    except DAMAGED:
        return True
