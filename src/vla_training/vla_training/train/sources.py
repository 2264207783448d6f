"""Where a run's checkpoint and samples come from.

Called by the pipeline: a base checkpoint with the pooling that is wanted, the cache filled, the
episodes split and opened. What is beside them is in datasets.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import derive_checkpoint, Manifest, read_manifest
from vla_policy.checkpoint_create import untrained_statistics
from vla_policy.checkpoint_format import BACKBONE
from vla_policy.expert.expert import ActionExpert
from vla_policy.pooling import build_pooling, PoolingConfig
from vla_training.cache.build import build, CacheOrder, episode_folders
from vla_training.cache.identity import identity_of
from vla_training.cache.store import FeatureCache
from vla_training.data.ages import AgeModel, FixedAges, LatencyAges
from vla_training.data.dataset import DataOptions, EpisodeDataset
from vla_training.data.prepared import feature_keys, prepared
from vla_training.data.split import split_episodes
from vla_training.train.config import DataConfig, TrainConfig
from vla_training.train.datasets import Datasets, with_corrections
from vla_training.train.loop import Report

BASE = 'base'


def base_checkpoint(
    config: TrainConfig, out: Path, *, write: bool, resume: bool = False
) -> Path:  # fmt: skip
    """Return `init`, or with another pooling a checkpoint derived from it in the run's folder.

    With `write` every file is verified, and that one made anew; a run that is resumed keeps its
    own. VlaError where a file is damaged, or what is kept is not made of `init`.
    """
    if not config.init:
        raise VlaError('init: which checkpoint to start from? (vla checkpoint create makes one)')
    info = read_manifest(config.init, verify=write)
    if config.pooling in (None, info.policy.pooling.kind):
        return info.folder
    target, pooling = out / BASE, PoolingConfig(config.pooling)
    if write and resume and target.exists():
        _check_derived(read_manifest(target, verify=True), info, pooling)
    elif write:
        repool(info, target, pooling, config.seed)
    return target


def _check_derived(info: Manifest, source: Manifest, pooling: PoolingConfig) -> None:
    """Raise VlaError unless `info` is `source` with that pooling; of the seed the state tells."""

    def rest(one: Manifest) -> tuple[object, ...]:
        kept = {name: file for name, file in one.files.items() if name.startswith(BACKBONE)}
        return kept, one.policy.backbone, one.contract.hash

    if info.policy.pooling != pooling or rest(info) != rest(source):
        raise VlaError(
            f'{info.folder}: was not made of {source.folder} as it is now; restore that, or train '
            'anew into another `out`'
        )


def repool(info: Manifest, target: Path, pooling: PoolingConfig, seed: int) -> None:
    """Write a checkpoint like another one, with another pooling and an untrained expert.

    One that is there is replaced.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = build_pooling(pooling, info.policy.expert.feature_width).state_dict()
        expert = replace(info.policy.expert, tokens_per_view=pooling.tokens_per_view)
        fresh = ActionExpert(expert, untrained_statistics(expert))
    derive_checkpoint(
        info.folder, target, fresh, untrained_statistics(expert), pooling=weights,
        pooling_config=pooling, trained=False, overwrite=True,
    )  # fmt: skip


def open_data(config: TrainConfig, base: Path, report: Report, *, fill: bool) -> Datasets:
    """Split the episodes and open them, features included; with `fill` compute missing ones."""
    options = config.data
    folders = episode_folders([Path(path) for path in options.episodes])
    if config.stage != 'frozen':
        return _pictures(config, base, folders, report)
    if fill and options.fill_cache and not _complete(base, folders, Path(options.cache)):
        _fill(config, base, folders, report)
    return _opened(
        config, base, folders, report, EpisodeDataset,
        lambda: FeatureCache.for_checkpoint(options.cache, base),
    )  # fmt: skip


def _fill(
    config: TrainConfig, base: Path, folders: Sequence[Path], report: Report
) -> None:  # fmt: skip
    """Compute the features that the cache lacks, and tell what became of it."""
    options = config.data
    report(f'{options.cache}: computing the features that it lacks')
    done = build(CacheOrder(
        base, tuple(folders), Path(options.cache), max_bytes=options.max_cache_gb * 1e9,
        threads=config.threads,
    ))  # fmt: skip
    encoded = done.encoded
    if done.leftovers:
        report(f'{options.cache}: {done.leftovers} unfinished files of killed runs removed')
    if encoded.computed:
        report(f'{options.cache}: {encoded.computed} of {encoded.sets} image sets computed')
    if encoded.undecodable:
        report(
            f'{options.cache}: {encoded.undecodable} pictures could not be decoded: the last good '
            'one was used'
        )


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

    recordings = (opened(learned), opened(held)) if held else (opened(learned),)
    sets = with_corrections(config, info, recordings)
    for line in sets.described():
        report(line)
    return sets


def _age_model(options: DataConfig) -> AgeModel:
    latency = LatencyAges(options.delay_s, options.rate_hz)
    if options.ages == 'zero':
        return FixedAges(period_s=1.0 / options.rate_hz)
    if options.ages == 'mean':
        delay_s = sum(options.delay_s) / 2
        period_s = max(1.0 / options.rate_hz, delay_s)
        return FixedAges(period_s / 2, delay_s, period_s)
    return latency
