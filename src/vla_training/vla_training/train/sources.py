"""Where a run's checkpoint and samples come from.

Called by the pipeline: a base checkpoint with the pooling that is wanted, the cache filled, the
episodes split and opened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import derive_checkpoint, Manifest, read_manifest
from vla_policy.checkpoint_create import untrained_statistics
from vla_policy.expert.expert import ActionExpert
from vla_policy.pooling import build_pooling, PoolingConfig
from vla_training.cache.build import build, CacheOrder, episode_folders
from vla_training.cache.identity import identity_of
from vla_training.cache.store import FeatureCache
from vla_training.data.ages import AgeModel, FixedAges, LatencyAges
from vla_training.data.corrections import correction_files, CorrectionDataset
from vla_training.data.dataset import DataOptions, EpisodeDataset
from vla_training.data.joined import JoinedDataset
from vla_training.data.prepared import feature_keys, prepared
from vla_training.data.split import split_episodes, split_names
from vla_training.train.config import DataConfig, TrainConfig
from vla_training.train.loop import Report

BASE = 'base'


@dataclass(frozen=True)
class Datasets:
    """Split by episode; no validation where none is wanted."""

    train: EpisodeDataset | JoinedDataset
    validation: EpisodeDataset | JoinedDataset | None


def base_checkpoint(config: TrainConfig, out: Path, *, write: bool) -> Path:
    """Return `init`, or with another pooling a checkpoint derived from it in the run's folder."""
    if not config.init:
        raise VlaError('init: which checkpoint to start from? (vla checkpoint create makes one)')
    info = read_manifest(config.init)
    if config.pooling in (None, info.policy.pooling.kind):
        return info.folder
    target = out / BASE
    if write and not target.exists():
        repool(info, target, PoolingConfig(config.pooling), config.seed)
    return target


def repool(info: Manifest, target: Path, pooling: PoolingConfig, seed: int) -> None:
    """Write a checkpoint like another one, with another pooling and an untrained expert."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = build_pooling(pooling, info.policy.expert.feature_width).state_dict()
        expert = replace(info.policy.expert, tokens_per_view=pooling.tokens_per_view)
        fresh = ActionExpert(expert, untrained_statistics(expert))
    derive_checkpoint(
        info.folder, target, fresh, untrained_statistics(expert), pooling=weights,
        pooling_config=pooling, trained=False,
    )  # fmt: skip


def open_data(config: TrainConfig, base: Path, report: Report, *, fill: bool) -> Datasets:
    """Split the episodes and open them, features included; with `fill` compute missing ones."""
    options = config.data
    folders = episode_folders([Path(path) for path in options.episodes])
    if config.stage != 'frozen':
        return _pictures(config, base, folders, report)
    if fill and options.fill_cache and not _complete(base, folders, Path(options.cache)):
        report(f'{options.cache}: computing the features that it lacks')
        order = CacheOrder(
            base, folders, Path(options.cache), max_bytes=options.max_cache_gb * 1e9,
            threads=config.threads,
        )  # fmt: skip
        encoded = build(order).encoded
        if encoded.computed:
            report(f'{options.cache}: {encoded.computed} of {encoded.sets} image sets computed')
    return _opened(
        config, base, folders, report, EpisodeDataset,
        lambda: FeatureCache.for_checkpoint(options.cache, base),
    )  # fmt: skip


def _complete(base: Path, folders: Sequence[Path], root: Path) -> bool:
    """Whether there is nothing to compute: then several runs may read the cache at once."""
    try:
        cache = FeatureCache.for_checkpoint(root, base)
    except VlaError:
        return False
    contract = read_manifest(base).contract
    for path in folders:
        episode = prepared(path, root, contract)
        if episode is None:
            return False
        keys = feature_keys(episode, cache) + feature_keys(episode, cache, black=True)
        if not all(key in cache for key in keys):
            return False
    return True


def _pictures(
    config: TrainConfig, base: Path, folders: Sequence[Path], report: Report
) -> Datasets:
    """Open the episodes' pictures: the encoder learns, so its features cannot be kept."""
    from vla_training.data.pictures import PictureDataset

    identity = identity_of(base, 'float32')  # only tells where the prepared episodes are
    return _opened(
        config, base, folders, report, PictureDataset,
        lambda: FeatureCache(config.data.cache, identity),
    )  # fmt: skip


def _opened(
    config: TrainConfig, base: Path, folders: Sequence[Path], report: Report,
    kind: type[EpisodeDataset], cache: Callable[[], FeatureCache],
) -> Datasets:  # fmt: skip
    options, info = config.data, read_manifest(base)
    learned, held = split_episodes(folders, options.validation_share, options.split_seed)

    passes = config.expert.passes or info.policy.expert.passes

    def opened(paths: list[Path]) -> EpisodeDataset:
        given = DataOptions(
            labels=options.labels, ages=_age_model(options), images=options.images,
            sensor=options.sensor, sensor_dropout=options.sensor_dropout, passes=passes,
        )  # fmt: skip
        data = kind(paths, cache(), info.contract, given)  # one cache a thread
        if options.ages == 'measured':
            data.options = replace(given, ages=data.measured_ages())
        return data

    recordings = opened(learned), opened(held) if held else None
    sets = _with_corrections(config, info, *recordings)
    _tell(sets, report)
    return sets


def _tell(sets: Datasets, report: Report) -> None:
    held = sets.validation
    report(
        f'{len(sets.train.paths)} episodes with {len(sets.train)} samples to learn from, '
        f'{len(held.paths) if held else 0} with {len(held) if held else 0} to validate'
    )


def _with_corrections(
    config: TrainConfig, info: Manifest, train: EpisodeDataset, held: EpisodeDataset | None
) -> Datasets:
    """Put what `vla dagger` collected beside the recordings, split in the same shares."""
    options = config.data
    if not options.corrections:
        return Datasets(train, held)
    files = correction_files([Path(path) for path in options.corrections], info.folder)
    learned, others = split_names(files, options.validation_share, options.split_seed)
    views = len(info.contract.views)

    def opened(paths: list[Path]) -> CorrectionDataset:
        passes, sensor = train.options.passes, options.sensor == 'normal'
        return CorrectionDataset(paths, views, passes, sensor=sensor)

    both = JoinedDataset(train, opened(learned))
    if held is None or not others:
        return Datasets(both, held)
    return Datasets(both, JoinedDataset(held, opened(others)))


def _age_model(options: DataConfig) -> AgeModel:
    latency = LatencyAges(options.delay_s, options.rate_hz)
    if options.ages == 'zero':
        return FixedAges(period_s=1.0 / options.rate_hz)
    if options.ages == 'mean':
        delay_s = sum(options.delay_s) / 2
        period_s = max(1.0 / options.rate_hz, delay_s)
        return FixedAges(period_s / 2, delay_s, period_s)
    return latency
