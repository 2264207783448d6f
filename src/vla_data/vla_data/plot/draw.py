"""Draws the page of an episode with matplotlib (Agg, no display).

Called by `page`. All panels share one time axis, the pictures of the views included, so that what
happens at one moment stands in one vertical line. Units here are those a person reads: mm, deg.
"""

from collections.abc import Sequence
from typing import Any

import cv2
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_data.plot.collect import Array, Content, THUMBNAILS

WIDTH_IN, DPI = 15.0, 110
GREY, RED, AMBER = '#9aa0a6', '#c5221f', '#e37400'
# Okabe and Ito: told apart with any kind of colour vision.
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
_PANEL_IN, _MMODE_IN = 1.25, 2.3
_MARGIN_IN = 1.9  # of the width: labels and legends
_SHOWN = 5  # verdicts at the top
_POINTS = 4000  # of a line; longer ones are drawn as their envelope


def draw(
    content: Content, contract: Contract, title: str, subtitle: str, faults: Sequence[str] = ()
) -> Figure:
    """Return the figure of one episode; `faults` are told in red below the title."""
    strip_in = _cell_in(content) * len(content.views)
    heights = [strip_in, _PANEL_IN, _MMODE_IN] + [_PANEL_IN] * 6
    figure = Figure(figsize=(WIDTH_IN, sum(heights) + 2.4), dpi=DPI, layout='constrained')
    figure.suptitle(title, x=0.01, ha='left', fontsize=15, fontweight='bold')
    axes = figure.subplots(
        len(heights), 1, sharex=True, gridspec_kw={'height_ratios': heights, 'hspace': 0.02}
    )
    _head(axes[0], subtitle, faults)
    _strip(axes[0], content)
    _force(axes[1], content)
    _mmode(axes[2], content)
    _joints(axes[3], content)
    _pose(axes[4], axes[5], content)
    _actions(axes[6], axes[7], content, contract)
    _ages(axes[8], content, contract)
    for panel in axes:
        panel.set_xlim(0, content.duration_s)
        panel.tick_params(labelsize=8)
    for panel in axes[1:]:
        if panel is not axes[2]:
            panel.grid(True, color='#e8eaed', linewidth=0.7)
            panel.set_axisbelow(True)
        panel.spines[['top', 'right']].set_visible(False)
    axes[-1].set_xlabel('time from the start of the episode (s)', fontsize=9)
    return figure


def _strip(panel: Any, content: Content) -> None:
    """Pictures of the views: a row a view, each over the time it was taken in."""
    height, width = _cell_pixels(content)
    sheet = np.full((len(content.views) * height, THUMBNAILS * width, 3), 235, np.uint8)
    for row, view in enumerate(content.views):
        for column, jpeg in enumerate(content.thumbnails.get(view, [None] * THUMBNAILS)):
            picture = _fitted(jpeg, height - 3, width - 3)
            if picture is not None:
                top, left = row * height + 1, column * width + 1
                sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    extent = (0.0, content.duration_s, float(len(content.views)), 0.0)
    panel.imshow(sheet, extent=extent, aspect='auto', interpolation='antialiased')
    panel.set_yticks(np.arange(len(content.views)) + 0.5, content.views)
    panel.tick_params(axis='y', length=0)
    for row, view in enumerate(content.views):
        if not content.images.get(view) or not content.images[view].time_s:
            _absent(panel, 'not recorded', content.duration_s / 2, row + 0.5)


def _force(panel: Any, content: Content) -> None:
    panel.set_ylabel('force (N)', fontsize=9)
    if not content.force.time_s:
        _absent(panel, 'no sensor recorded')
        return
    time_s, force = content.force.arrays()
    _line(panel, time_s, force, COLOURS[0], None)


def _mmode(panel: Any, content: Content) -> None:
    panel.set_ylabel('A-scan, M-mode\n(depth bin)', fontsize=9)
    if content.mmode is None:
        _absent(panel, 'no sensor recorded')
        return
    known = content.mmode[np.isfinite(content.mmode)]
    low, high = np.percentile(known, (1, 99.7))
    panel.set_facecolor('#dfe7f5')  # what was not measured
    extent = (0.0, content.duration_s, float(content.mmode.shape[0]), 0.0)
    panel.imshow(
        content.mmode, extent=extent, aspect='auto', cmap='gray', vmin=low,
        vmax=max(high, low + 1e-6), interpolation='antialiased',
    )  # fmt: skip


def _joints(panel: Any, content: Content) -> None:
    panel.set_ylabel('joints (deg)\nfrom the start', fontsize=9)
    if not content.joints.time_s:
        _absent(panel, 'no joints recorded')
        return
    time_s, joints = content.joints.arrays()
    moved = np.rad2deg(joints - joints[0])
    _lines(panel, time_s, moved, [f'J{number}' for number in range(1, 7)])


def _pose(position: Any, turn: Any, content: Content) -> None:
    position.set_ylabel('TCP (mm)\nfrom the start', fontsize=9)
    turn.set_ylabel('TCP turn (deg)\nfrom the start', fontsize=9)
    turned = content.turned_rad()
    if turned is None:
        _absent(position, 'no pose recorded')
        _absent(turn, 'no pose recorded')
        return
    time_s, pose = content.pose.arrays()
    _lines(position, time_s, (pose[:, :3] - pose[0, :3]) * 1e3, ['x', 'y', 'z'])
    _lines(turn, turned[0], np.rad2deg(turned[1]), ['about x', 'about y', 'about z'])


def _actions(linear: Any, angular: Any, content: Content, contract: Contract) -> None:
    """What the robot did a step (lines) and what the policy proposed (points)."""
    linear.set_ylabel('action\n(mm a step)', fontsize=9)
    angular.set_ylabel('action\n(deg a step)', fontsize=9)
    motion = content.motion(contract.action.period_s)
    if motion is None:
        _absent(linear, 'no motion recorded')
        _absent(angular, 'no motion recorded')
        return
    ticks, moved = motion
    _lines(linear, ticks, moved[:, :3] * 1e3, ['dx', 'dy', 'dz'])
    _lines(angular, ticks, np.rad2deg(moved[:, 3:]), ['about x', 'about y', 'about z'])
    if not content.chunks.time_s:
        return
    time_s, proposed = content.chunks.arrays()
    for axis in range(3):
        style = {'s': 9, 'color': COLOURS[axis], 'alpha': 0.55, 'linewidths': 0}
        linear.scatter(time_s, proposed[:, axis] * 1e3, **style)
        angular.scatter(time_s, np.rad2deg(proposed[:, 3 + axis]), **style)
    linear.scatter([], [], s=9, color=GREY, label='proposed')
    _legend(linear)


def _ages(panel: Any, content: Content, contract: Contract) -> None:
    """Age of the newest new content at each tick, with the contract's limits."""
    panel.set_ylabel('age at\nthe tick', fontsize=9)
    period_s = contract.action.period_s
    ticks = np.arange(0.0, content.duration_s, period_s)
    views = [content.images[view].ages(ticks) for view in content.views if view in content.images]
    drawn = 0.0
    if views and np.isfinite(views).any():
        known = np.where(np.isfinite(views), views, -np.inf)
        oldest = np.where(np.isfinite(known.max(axis=0)), known.max(axis=0), np.nan)
        panel.plot(ticks, oldest, color=COLOURS[0], linewidth=1.2, label='oldest view')
        drawn = float(np.nanmax(oldest))
    for name, track, colour in (
        ('sensor', content.sensor, COLOURS[5]),
        ('robot', content.pose, COLOURS[2]),
    ):
        ages = track.ages(ticks)
        if np.isfinite(ages).any():
            panel.plot(ticks, np.maximum(ages, 1e-3), color=colour, linewidth=1.2, label=name)
            drawn = max(drawn, float(np.nanmax(ages)))
    limits = contract.images.limits
    panel.axhline(limits.mark_s, color=AMBER, linewidth=0.9, linestyle='--', label='images: mark')
    panel.axhline(limits.hold_s, color=RED, linewidth=0.9, linestyle='--', label='images: hold')
    panel.set_yscale('log')
    panel.set_ylim(1e-3, max(2.0, 1.3 * drawn))
    panel.set_yticks([0.001, 0.01, 0.1, 1.0], ['1 ms', '10 ms', '0.1 s', '1 s'])
    panel.minorticks_off()
    _legend(panel)


def _lines(panel: Any, time_s: Array, values: Array, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        _line(panel, time_s, values[:, index], COLOURS[index], name)
    _legend(panel)


def _line(panel: Any, time_s: Array, values: Array, colour: str, name: str | None) -> None:
    """One line, broken where nothing was measured; a long one as its envelope and mean."""
    if len(time_s) > _POINTS:
        when, low, high, mean = _envelope(time_s, values, _POINTS // 4)
        panel.fill_between(when, low, high, color=colour, alpha=0.25, linewidth=0)
        panel.plot(when, mean, color=colour, linewidth=1.2, label=name)
        return
    if len(time_s) > 2:
        steps = np.diff(time_s)
        holes = np.flatnonzero(steps > max(5 * np.median(steps), 0.05)) + 1
        time_s = np.insert(time_s, holes, time_s[holes - 1])
        values = np.insert(values, holes, np.nan)
    panel.plot(time_s, values, color=colour, linewidth=1.2, label=name)


def _envelope(time_s: Array, values: Array, count: int) -> tuple[Array, Array, Array, Array]:
    """Least, greatest, mean value in `count` equal stretches of time; NaN where one is empty."""
    span_s = max(float(time_s[-1] - time_s[0]), 1e-9)
    place = np.minimum(((time_s - time_s[0]) / span_s * count).astype(np.int64), count - 1)
    low, high = np.full(count, np.nan), np.full(count, np.nan)
    np.fmin.at(low, place, values)
    np.fmax.at(high, place, values)
    number = np.bincount(place, minlength=count)
    total = np.bincount(place, np.nan_to_num(values), minlength=count)
    mean = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    when = time_s[0] + (np.arange(count) + 0.5) * span_s / count
    return when, low, high, mean


def _legend(panel: Any) -> None:
    panel.legend(
        loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, handlelength=1.2
    )


def _absent(panel: Any, text: str, x: float | None = None, y: float | None = None) -> None:
    place = {'transform': panel.transAxes} if x is None else {}
    panel.text(0.5 if x is None else x, 0.5 if y is None else y, text, ha='center', va='center',
               color=GREY, fontsize=11, **place)  # fmt: skip


def _head(panel: Any, subtitle: str, faults: Sequence[str]) -> None:
    shown = list(faults[:_SHOWN])
    if len(faults) > _SHOWN:
        shown.append(f'and {len(faults) - _SHOWN} more')
    panel.set_title(subtitle, loc='left', fontsize=10, color='#444444')
    panel.set_title('\n'.join(shown), loc='right', fontsize=9, color=RED)


def _cell_in(content: Content) -> float:
    """Height of one picture's cell, inches: that of the first picture at the cell's width."""
    width_in = (WIDTH_IN - _MARGIN_IN) / THUMBNAILS
    for cells in content.thumbnails.values():
        for jpeg in cells:
            picture = _fitted(jpeg, 1000, 1000)
            if picture is not None:
                return width_in * picture.shape[0] / picture.shape[1]
    return width_in * 9 / 16


def _cell_pixels(content: Content) -> tuple[int, int]:
    """Height and width of one picture's cell, in pixels of the sheet."""
    # 3 pixels between the pictures.
    width = int((WIDTH_IN - _MARGIN_IN) * DPI / THUMBNAILS)
    return int((width - 3) * _cell_in(content) / (width / DPI)) + 3, width


def _fitted(jpeg: bytes | None, height: int, width: int) -> NDArray[np.uint8] | None:
    """Decode and scale into (height, width), its aspect kept; RGB."""
    if jpeg is None:
        return None
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        return None
    scale = min(height / bgr.shape[0], width / bgr.shape[1])
    size = (max(1, int(bgr.shape[1] * scale)), max(1, int(bgr.shape[0] * scale)))
    small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)
