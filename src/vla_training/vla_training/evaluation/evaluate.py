"""Many episodes, side by side in processes, and what they say together.

Called by `vla eval`. The same seeds and options give the same result, however many processes.
Deliberately prints nothing: progress is told by a callback.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import functools
import math
from typing import Any

import numpy as np

from vla_training.evaluation.episode import Episode, EpisodeResult
from vla_training.evaluation.options import EvaluationOptions
from vla_training.evaluation.policies import Policy
from vla_training.evaluation.workers import work_through

MakePolicy = Callable[[], Policy]
Progress = Callable[[EpisodeResult], None]
_Z95 = 1.959964  # of a normal distribution, two-sided


@dataclass(frozen=True)
class Evaluation:
    """All episodes of one setting."""

    options: EvaluationOptions
    results: tuple[EpisodeResult, ...]  # by seed

    @property
    def successes(self) -> int:
        """Episodes that succeeded."""
        return sum(result.success for result in self.results)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the success rate."""
        return wilson(self.successes, len(self.results))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: keys `episodes`, `successes`, `interval`, ... are stable."""
        results = self.results
        return {
            'episodes': len(results),
            'successes': self.successes,
            'success_rate': self.successes / len(results),
            'interval': list(self.interval),
            'options': asdict(self.options) | {'standing_m': self.options.judged_standing_m},
            'reasons': dict(Counter(result.reason for result in results).most_common()),
            'entry_error_mm': _spread([1e3 * result.entry_error_m for result in results]),
            'depth_error_mm': _spread([1e3 * abs(result.depth_error_m) for result in results]),
            'peak_force_n': _spread([result.peak_force_n for result in results]),
            'peak_side_n': _spread([result.peak_side_n for result in results]),
            'duration_s': _spread([r.duration_s for r in results if r.success]),
            'splice_ratio': _spread([result.splice_ratio for result in results]),
            'jerk_m_s3': _spread([result.jerk_m_s3 for result in results]),
            'image_age_s': _spread([age for result in results for age in result.image_ages_s]),
            'feature_age_s': _spread([age for result in results for age in result.feature_ages_s]),
            'holds': _total([result.holds for result in results]),
            'results': [_plain(result) for result in results],
        }


def evaluate(
    make_policy: MakePolicy,
    seeds: Sequence[int],
    options: EvaluationOptions,
    jobs: int = 1,
    progress: Progress = lambda result: None,
) -> Evaluation:
    """Run one episode a seed. `make_policy` must be picklable when `jobs` is more than 1."""
    found = []
    run = functools.partial(_run, options)
    for result in work_through(make_policy, run, seeds, jobs):
        progress(result)
        found.append(result)
    return Evaluation(options, tuple(sorted(found, key=lambda result: result.seed)))


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """95 % score interval of a rate (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    if episodes < 1:
        raise ValueError('no episodes')
    rate, z2 = successes / episodes, _Z95**2
    centre = rate + z2 / (2 * episodes)
    half = _Z95 * math.sqrt(rate * (1 - rate) / episodes + z2 / (4 * episodes**2))
    scale = 1 + z2 / episodes
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def run_one(seed: int, policy: Policy, options: EvaluationOptions) -> EpisodeResult:
    """Run one episode."""
    episode = Episode(seed, policy, options)
    try:
        return episode.run()
    finally:
        episode.close()


def _run(options: EvaluationOptions, policy: Policy, seed: int) -> EpisodeResult:
    return run_one(seed, policy, options)


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 90th and 95th percentile and largest of what is known, and how many that are."""
    known = [value for value in values if math.isfinite(value)]
    shares = {'p50': 50, 'p90': 90, 'p95': 95, 'max': 100}
    spread: dict[str, float | None] = {
        name: round(float(np.percentile(known, share)), 5) if known else None
        for name, share in shares.items()
    }
    return spread | {'n': len(known)}


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _plain(result: EpisodeResult) -> dict[str, Any]:
    """For JSON, which knows no NaN; median and largest of the ages."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(result).items()
    }
    for name in ('image_age', 'feature_age'):
        ages = plain.pop(f'{name}s_s')
        plain[f'{name}_s'] = [float(np.median(ages)), max(ages)] if ages else [None, None]
    return plain
