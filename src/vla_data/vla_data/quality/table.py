"""The result of a check as text for a person.

Called by `vla episodes check`.
"""

from vla_data.quality.check import EpisodeQuality
from vla_data.quality.streams import StreamQuality

_COLUMNS = (
    ('stream', 12), ('items', 8), ('Hz', 7), ('jitter', 8), ('gaps', 5), ('max gap', 8),
    ('stale', 7), ('dup', 5), ('frozen', 7), ('clock', 8), ('lost', 6), ('broken', 6),
)  # fmt: skip


def lines(quality: EpisodeQuality) -> list[str]:
    """Return the table, the verdicts and one closing line."""
    head = ' '.join(
        f'{name:<{width}}' if name == 'stream' else f'{name:>{width}}' for name, width in _COLUMNS
    )
    rows = [_row(stream) for stream in quality.streams + quality.others]
    result = [f'{quality.path}  {quality.duration_s:.1f} s', head, *rows]
    if quality.skew_p50_s is not None:
        result.append(
            f'views: newest images {quality.skew_p50_s * 1e3:.0f} ms apart at the median, '
            f'{quality.skew_p95_s * 1e3:.0f} ms at the 95th percentile'
        )
    result += [f'  {v.level}: {v.stream}: {v.text} [{v.kind}]' for v in quality.verdicts]
    failures = sum(verdict.level == 'fail' for verdict in quality.verdicts)
    warnings = len(quality.verdicts) - failures
    word = 'pass' if quality.passed else 'FAIL'
    return [*result, f'{word}: {failures} failures, {warnings} warnings']


def _row(stream: StreamQuality) -> str:
    cells = (
        stream.name[-12:],
        str(stream.count),
        _number(stream.rate_hz, '{:.1f}'),
        _number(stream.jitter_ms, '{:.2f} ms'),
        str(stream.gaps),
        _number(stream.max_gap_s, '{:.3f} s'),
        _number(stream.max_stale_s, '{:.2f} s'),
        str(stream.duplicates),
        str(stream.frozen),
        _number(stream.clock_ms, '{:+.1f} ms'),
        str(stream.lost),
        str(stream.broken),
    )
    return ' '.join(
        f'{cell:<{width}}' if place == 0 else f'{cell:>{width}}'
        for place, (cell, (_, width)) in enumerate(zip(cells, _COLUMNS))
    )


def _number(value: float | None, form: str) -> str:
    return '-' if value is None else form.format(value)
