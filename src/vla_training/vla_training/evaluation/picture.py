"""Evaluations to look at: the curve of a sweep and the spreads of one as PNG, an episode as MP4.

Called by `vla eval`. Deliberately judges nothing.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import cv2
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from vla_data.exporting.video import VideoFiles
from vla_training.evaluation.episode import Episode, EpisodeResult
from vla_training.evaluation.evaluate import Evaluation
from vla_training.evaluation.options import EvaluationOptions
from vla_training.evaluation.policies import Policy
from vla_training.evaluation.sweep import Sweep

_TILE = (320, 180)
_VIDEO_HZ = 5
_QUALITY = 23  # x264's constant rate factor
_BLUE, _GREY = '#0072B2', '#9aa0a6'


def draw_sweep(sweep: Sweep, found: Sequence[Evaluation], title: str, path: Path) -> None:
    """Success over the values of a sweep with 95 % intervals."""
    rates = np.array([100 * e.successes / len(e.results) for e in found])
    bounds = 100 * np.array([e.interval for e in found])
    figure = Figure(figsize=(7.0, 4.2), dpi=110, layout='constrained')
    axes = figure.subplots()
    at = np.arange(len(rates))
    errors = np.abs(bounds.T - rates)
    axes.errorbar(at, rates, errors, fmt='o-', color=_BLUE, capsize=4, linewidth=1.5)
    axes.set_xticks(at, sweep.labels)
    axes.set_xlabel(sweep.key)
    axes.set_ylabel('success, % (95 % interval)')
    axes.set_ylim(-3, 103)
    axes.grid(axis='y', color=_GREY, alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(title, loc='left', fontsize=11)
    figure.savefig(path)


def draw_evaluation(found: Evaluation, title: str, path: Path) -> None:
    """How the errors, force and durations of one evaluation are spread, and how it ended."""
    results = found.results
    figure = Figure(figsize=(9.0, 6.0), dpi=110, layout='constrained')
    axes = figure.subplots(2, 3).ravel()
    spreads = (
        ('tip off the axis at the opening, mm', [1e3 * r.entry_error_m for r in results]),
        ('depth error at the end, mm', [1e3 * r.depth_error_m for r in results]),
        ('peak force along the needle, N', [r.peak_force_n for r in results]),
        ('duration of successes, s', [r.duration_s for r in results if r.success]),
        ('image age at the tick, s', [age for r in results for age in r.image_ages_s]),
    )
    for place, (name, values) in zip(axes, spreads):
        known = [value for value in values if np.isfinite(value)]
        if known:
            place.hist(known, bins=24, color=_BLUE)
        place.set_xlabel(name)
        place.spines[['top', 'right']].set_visible(False)
    _draw_reasons(axes[5], found)
    low, high = (100 * bound for bound in found.interval)
    rate = f'{found.successes} of {len(results)} succeeded ({low:.0f} to {high:.0f} %)'
    figure.suptitle(f'{title}: {rate}', fontsize=11)
    figure.savefig(path)


def _draw_reasons(axes: Axes, found: Evaluation) -> None:
    reasons = Counter(result.reason for result in found.results).most_common(6)
    at = np.arange(len(reasons))
    axes.barh(at, [count for _, count in reasons], color=_BLUE)
    axes.set_yticks(at, [fill(reason, 24) for reason, _ in reasons], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel('episodes')
    axes.spines[['top', 'right']].set_visible(False)


def film(seed: int, policy: Policy, options: EvaluationOptions, path: Path) -> EpisodeResult:
    """Run one episode and write its five views as a video of five pictures a second."""
    episode = Episode(seed, policy, options)
    name = path.name.replace('{', '{{').replace('}', '}}')  # VideoFiles takes a pattern
    video = VideoFiles(path.parent, name, _VIDEO_HZ, 1 << 40, _QUALITY)
    video.begin_episode()
    episode.watch = lambda jpegs, lines: video.add(_mosaic(jpegs, lines))
    try:
        return episode.run()
    finally:
        video.close()
        episode.close()


def _mosaic(jpegs: dict[str, bytes], lines: Sequence[str]) -> NDArray[np.uint8]:
    """Five views and a tile of text, (360, 960, 3) RGB."""
    tiles = []
    for jpeg in jpegs.values():
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        tiles.append(cv2.resize(picture, _TILE, interpolation=cv2.INTER_AREA)[..., ::-1])
    text = np.full((_TILE[1], _TILE[0], 3), 24, np.uint8)
    for number, line in enumerate(lines):
        place = (12, 30 + 26 * number)
        cv2.putText(text, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    tiles.append(text)
    return np.concatenate([np.concatenate(tiles[:3], 1), np.concatenate(tiles[3:6], 1)], 0)
