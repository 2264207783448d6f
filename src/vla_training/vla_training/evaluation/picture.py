"""Evaluations to look at: the curve of a sweep as PNG, an episode as MP4.

Called by `vla eval`. Deliberately judges nothing.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
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
    axes.set_xticks(at, sweep.values)
    axes.set_xlabel(sweep.key)
    axes.set_ylabel('success, % (95 % interval)')
    axes.set_ylim(-3, 103)
    axes.grid(axis='y', color=_GREY, alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(title, loc='left', fontsize=11)
    figure.savefig(path)


def film(seed: int, policy: Policy, options: EvaluationOptions, path: Path) -> EpisodeResult:
    """Run one episode and write its five views as a video of five pictures a second."""
    episode = Episode(seed, policy, options)
    video = VideoFiles(path.parent, path.name, _VIDEO_HZ, 1 << 40, _QUALITY)
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
