"""What an import dropped, changed or had to take somebody's word for, and why.

Filled by the readers of the legacy layouts and by the writer; printed by `vla import` and kept in
the episode's own metadata. Deliberately decides nothing: a reader that cannot go on raises
`LegacyDataError` instead.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

from vla_core.errors import VlaError


class LegacyDataError(VlaError):
    """The recording cannot be imported as it is; the text says which option would decide it."""

    def __init__(self, path: str | PathLike[str], why: str) -> None:
        super().__init__(f'{path}: {why}')


@dataclass(frozen=True)
class Finding:
    """One thing a person should know about an import."""

    action: str  # 'dropped', 'changed', 'absent', 'assumed' or 'noted'
    kind: str  # a slug to count and search by: 'right_eye', 'float32_times', ...
    stream: str  # 'robot', 'sensor', 'view1', 'action', 'episode'
    count: int  # how many items it is about, 0 where it is about the whole stream
    text: str  # why, for a person


@dataclass
class ImportReport:
    """Everything worth telling about the import of one recording. One thread fills it."""

    source: str
    layout: str
    findings: list[Finding] = field(default_factory=list)
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)

    def dropped(self, kind: str, stream: str, count: int, text: str) -> None:
        """Tell that `count` items were left out; nothing is told for 0."""
        if count:
            self._add('dropped', kind, stream, count, text)

    def changed(self, kind: str, stream: str, count: int, text: str) -> None:
        """Tell that `count` items were corrected; nothing is told for 0."""
        if count:
            self._add('changed', kind, stream, count, text)

    def absent(self, kind: str, stream: str, text: str) -> None:
        """Tell that a stream is not in the episode at all."""
        self._add('absent', kind, stream, 0, text)

    def assumed(self, kind: str, stream: str, text: str, count: int = 0) -> None:
        """Tell what the data itself does not say and was taken from the format or an option."""
        self._add('assumed', kind, stream, count, text)

    def noted(self, kind: str, stream: str, text: str, count: int = 0) -> None:
        """Tell something measured that changed nothing."""
        self._add('noted', kind, stream, count, text)

    def count(self, kind: str, stream: str | None = None) -> int:
        """Sum of the counts of a kind, over all streams unless one is named."""
        return sum(item.count for item in self._of(kind, stream))

    def has(self, kind: str, stream: str | None = None) -> bool:
        """Say whether a kind was found."""
        return any(True for _ in self._of(kind, stream))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report for a person, one line a stream and a finding."""
        lines = [f'{self.source} ({self.layout})']
        for name, facts in self.streams.items():
            lines.append(f'  {name:<8} {_facts(facts)}')
        for item in self.findings:
            count = f' {item.count}' if item.count else ''
            lines.append(f'  {item.action}{count} [{item.stream}: {item.kind}] {item.text}')
        return lines

    def _add(self, action: str, kind: str, stream: str, count: int, text: str) -> None:
        self.findings.append(Finding(action, kind, stream, int(count), text))

    def _of(self, kind: str, stream: str | None) -> Iterator[Finding]:
        return (
            item for item in self.findings if item.kind == kind and stream in (None, item.stream)
        )


def _facts(facts: dict[str, Any]) -> str:
    return ', '.join(
        f'{key} {value:.4g}' if isinstance(value, float) else f'{key} {value}'
        for key, value in facts.items()
        if not key.endswith('_ns')
    )
