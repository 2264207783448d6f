"""Training batches: what the policy would have known at ticks of demonstrations, and the labels.

Used by `vla train` through `batch`. Features come from the cache: for each sample an age is drawn,
and with it the newest image set that a pass of the vision-language model could have used by then;
ages and the tool's motion since each picture follow from that set, as in the live node. Nothing in
the inputs of a tick was recorded after it. Memory stays flat: sensor windows are memory-mapped,
features too where they are many. Deliberately normalises nothing: the expert does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_core.timebase import NS
from vla_data.tagging import read_info
from vla_policy.expert.batch import ExpertBatch
from vla_policy.normalization import Statistics
from vla_training.cache.store import FeatureCache
from vla_training.data.ages import AgeModel, LatencyAges, MeasuredAges
from vla_training.data.batch import Batch, TRUTH
from vla_training.data.features import CachedFeatures, Features, Pick
from vla_training.data.motion import motion_since
from vla_training.data.prepared import prepare, PreparedEpisode, total_counts
from vla_training.data.statistics import joined, Sums


@dataclass(frozen=True)
class DataOptions:
    """What is learned from, and what the policy is given of it."""

    labels: Literal['recorded', 'robot'] = 'recorded'  # the demonstrator's chunks, or the motion
    ages: AgeModel = field(default_factory=LatencyAges)
    images: Literal['normal', 'black'] = 'normal'
    sensor: Literal['normal', 'absent'] = 'normal'
    sensor_dropout: float = 0.0  # probability that a sample's whole window is absent
    passes: int = 1  # of the encoder, whose features a sample has

    def __post_init__(self) -> None:
        if not 0.0 <= self.sensor_dropout <= 1.0:
            raise VlaError(f'sensor_dropout {self.sensor_dropout}: expected a number from 0 to 1')
        for name, allowed in (
            ('labels', ('recorded', 'robot')),
            ('images', ('normal', 'black')),
            ('sensor', ('normal', 'absent')),
        ):
            if getattr(self, name) not in allowed:
                value = getattr(self, name)
                raise VlaError(f'{name} {value!r}: expected {" or ".join(allowed)}')


class EpisodeDataset:
    """All ticks of the episodes that have a state, a label and an image set. One thread.

    `counts`: what was left out, and why; `empty`: episodes without such a tick, which are in
    nothing else.
    """

    def __init__(
        self, episodes: Sequence[Path], cache: FeatureCache, contract: Contract,
        options: DataOptions | None = None,
    ) -> None:  # fmt: skip
        """Open the episodes, preparing those that never were.

        VlaError where features are missing, or there is nothing to learn from.
        """
        if not episodes:
            raise VlaError('there are no episodes to train on')
        self.options, self._contract = options or DataOptions(), contract
        paths = [Path(path) for path in episodes]
        prepared = [prepare(path, cache.root, contract) for path in paths]
        found = [self._usable(episode) for episode in prepared]
        self._check(found)
        self.counts = self._left_out(prepared, found)
        used = [number for number, mine in enumerate(found) if len(mine)]
        self.paths = tuple(paths[number] for number in used)
        self.empty = tuple(path for path, mine in zip(paths, found) if not len(mine))
        self._episodes, rows = [prepared[number] for number in used], [found[n] for n in used]
        self.episode_of = np.repeat(np.arange(len(rows)), [len(mine) for mine in rows])
        self._row_of = np.concatenate(rows)
        self._features = self._open_features(cache)

    def _open_features(self, cache: FeatureCache) -> Features:
        return CachedFeatures(self.paths, self._episodes, cache, self.options.images)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def names(self) -> list[set[str]]:
        """What priorities may call each episode: its folder and its tags."""
        return [{path.parent.name, *read_info(path).tags} for path in self.paths]

    @property
    def digests(self) -> list[str]:
        """What each episode holds: another recording has another one, by whatever name."""
        return [_digest(episode) for episode in self._episodes]

    @property
    def tick_ns(self) -> np.ndarray:
        """Tick (N,) int64 of each sample, Unix ns."""
        pairs = zip(self.episode_of, self._row_of)
        return np.array([self._episodes[number].tick_ns[row] for number, row in pairs], np.int64)

    def measured_ages(self) -> MeasuredAges:
        """Feature ages that the episodes' own `vlm/info` tells. VlaError where there are none."""
        return MeasuredAges(np.concatenate([episode.ages for episode in self._episodes]))

    def statistics(self) -> dict[str, Statistics]:
        """Normalisation of sensor, state, action over these episodes: give the training ones."""
        sums: dict[str, list[Sums]] = {'sensor': [], 'state': [], 'action': []}
        for number, episode in enumerate(self._episodes):
            rows = self._row_of[self.episode_of == number]
            actions, mask = self._labels(episode)
            sums['sensor'].append(episode.sensor)
            sums['state'].append(Sums.of(episode.state[rows]))
            sums['action'].append(Sums.of(actions[rows][mask[rows]]))
        return {key: joined(parts).statistics(key) for key, parts in sums.items()}

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        """Make a batch of samples `indices` (B,); ages and dropouts are drawn from `rng`.

        The same indices and state of `rng` give the same batch.
        """
        indices = np.asarray(indices, np.int64)
        drawn = self.options.ages.draw(len(indices), rng)
        absent = rng.random(len(indices)) < self.options.sensor_dropout
        if self.options.sensor == 'absent':
            absent[:] = True
        picks = [
            self._pick(index, *row)
            for index, *row in zip(indices.tolist(), *map(np.ndarray.tolist, drawn))
        ]
        return self._collate(picks, absent)

    def _usable(self, episode: PreparedEpisode) -> np.ndarray:
        _, mask = self._labels(episode)
        first_ns = episode.known_ns[0] if len(episode.known_ns) else np.iinfo(np.int64).max
        usable = mask.any(1) & (episode.robot_ns > 0) & (episode.tick_ns >= first_ns)
        return np.flatnonzero(usable)

    def _left_out(
        self, episodes: Sequence[PreparedEpisode], rows: Sequence[np.ndarray]
    ) -> dict[str, int]:  # fmt: skip
        """Count what preparing left out, ticks that are no sample, and views that were stale."""
        counts = {
            kind: count
            for kind, count in total_counts(episodes).items()
            if kind != 'samples_accepted' and (self._told or 'chunk' not in kind)
        }
        counts['ticks_unusable'] = sum(map(len, episodes)) - sum(map(len, rows))
        # A view that brought nothing new is in a set with the picture of the set before.
        counts['views_stale'] = sum(
            int((np.diff(episode.stamps_ns, axis=0) == 0).sum()) for episode in episodes
        )
        return counts

    def _check(self, rows: Sequence[np.ndarray]) -> None:
        if any(len(mine) for mine in rows):
            return
        hint = ''
        if self.options.labels == 'recorded':
            hint = "; recordings without chunks of a demonstrator need labels 'robot'"
        raise VlaError(f'the {len(rows)} episodes hold no tick with pictures and a label{hint}')

    def _labels(self, episode: PreparedEpisode) -> tuple[np.ndarray, np.ndarray]:
        if self.options.labels == 'recorded':
            return episode.label, episode.label_mask
        return episode.done, episode.done_mask

    def _pick(self, index: int, age_s: float, delay_s: float, period_s: float) -> Pick:
        """Which image sets the features of a sample were made from, and how old they are."""
        number, row = int(self.episode_of[index]), int(self._row_of[index])
        episode = self._episodes[number]
        tick_ns, first_ns = int(episode.tick_ns[row]), int(episode.known_ns[0])
        begun_ns = tick_ns - round((age_s + delay_s) * NS)
        if begun_ns < first_ns:
            # So early there were no features yet; as old as they can be instead.
            age_s *= (tick_ns - first_ns) / (tick_ns - begun_ns)
            begun_ns = first_ns
        passes_ns = begun_ns - np.arange(self.options.passes) * round(period_s * NS)
        images = np.searchsorted(episode.known_ns, passes_ns, 'right') - 1
        # Before the first pass there was none: the oldest there is stands for it, as live.
        images = images[np.maximum.accumulate(np.where(images >= 0, np.arange(len(images)), 0))]
        return Pick(number, row, tuple(images.tolist()), age_s)

    def _collate(self, picks: Sequence[Pick], absent: np.ndarray) -> Batch:
        labels, told = ('label', 'label_mask') if self._told else ('done', 'done_mask')
        return Batch(
            self._inputs(picks, absent),
            torch.from_numpy(self._rows(picks, labels)),
            torch.from_numpy(self._rows(picks, told)),
            torch.full((len(picks), TRUTH), torch.nan),
        )

    def _inputs(self, picks: Sequence[Pick], absent: np.ndarray) -> ExpertBatch:
        mask = self._rows(picks, 'mask') & ~absent[:, None]
        window = torch.from_numpy(self._rows(picks, 'window')).float()
        window.masked_fill_(~torch.from_numpy(mask)[..., None], 0.0)
        stamps_ns, state = self._sets(picks, 'stamps_ns'), self._rows(picks, 'state')
        ages_s = (self._rows(picks, 'tick_ns')[:, None] - stamps_ns) / NS
        motion = motion_since(
            self._contract, stamps_ns, self._sets(picks, 'poses'), state,
            self._rows(picks, 'robot_ns'),
        )  # fmt: skip
        features = np.stack([
            np.concatenate([self._features.get(p.episode, number) for number in p.images])
            for p in picks
        ])  # fmt: skip
        return ExpertBatch(
            features=torch.from_numpy(features).float(),
            window=window,
            window_mask=torch.from_numpy(mask),
            state=torch.from_numpy(state),
            state_age_s=torch.from_numpy(self._rows(picks, 'state_age_s')),
            image_age_s=torch.from_numpy(ages_s.astype(np.float32)),
            view_motion=torch.from_numpy(motion),
            feature_age_s=torch.tensor([pick.age_s for pick in picks], dtype=torch.float32),
        )

    def _rows(self, picks: Sequence[Pick], name: str) -> np.ndarray:
        """The ticks' rows of an array (B, ...)."""
        return np.stack([getattr(self._episodes[p.episode], name)[p.row] for p in picks])

    def _sets(self, picks: Sequence[Pick], name: str) -> np.ndarray:
        """The image sets' rows of an array (B, passes * V, ...)."""
        found = [getattr(self._episodes[p.episode], name)[list(p.images)] for p in picks]
        return np.stack([sets.reshape(-1, *sets.shape[2:]) for sets in found])

    @property
    def _told(self) -> bool:
        return self.options.labels == 'recorded'


def _digest(episode: PreparedEpisode) -> str:
    """Sixteen hexadecimal digits over all but the windows, whose sums stand for them."""
    digest = hashlib.sha256(episode.sensor.total.tobytes() + episode.sensor.squares.tobytes())
    for item in fields(episode):
        value = getattr(episode, item.name)
        if isinstance(value, np.ndarray) and item.name != 'window':
            digest.update(value.tobytes())
    return digest.hexdigest()[:16]
