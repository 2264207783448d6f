"""Episodes as rows of text and as JSON.

Used by `vla episodes list`. It deliberately reads no file.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from vla_data.catalog import Entry

TASK_WIDTH = 40


def row(entry: Entry, root: Path) -> tuple[str, ...]:
    """Return one row; the last cell says what is unusual."""
    info = entry.info
    remark = entry.fault or (entry.state if entry.state not in ('', 'finished') else '')
    if not entry.fault and info.ended_because:
        remark = f'{remark}: {info.ended_because}' if remark else info.ended_because
    start = ''
    if entry.start_ns:
        start = datetime.fromtimestamp(entry.start_ns / 1e9).strftime('%Y-%m-%d %H:%M:%S')
    task = info.task if len(info.task) <= TASK_WIDTH else info.task[: TASK_WIDTH - 3] + '...'
    name = str(entry.path.relative_to(root)) if entry.path != root else entry.path.name
    return (
        name,
        start,
        f'{entry.seconds:.1f}',
        f'{entry.size_bytes / 1e6:.1f}',
        str(entry.messages),
        str(entry.lost),
        info.outcome or '-',
        task or '-',
        ','.join(info.tags) or '-',
        remark,
    )


def rows(table: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the rows with aligned columns."""
    table = list(table)
    widths = [max(len(cell) for cell in column) for column in zip(*table)]
    return [
        '  '.join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()
        for cells in table
    ]


def as_json(entry: Entry) -> dict:
    """Return what is known about an episode, without the contract's text."""
    info = entry.info
    return {
        'path': str(entry.path),
        'fault': entry.fault,
        'state': entry.state,
        'start_ns': entry.start_ns,
        'seconds': entry.seconds,
        'size_bytes': entry.size_bytes,
        'messages': entry.messages,
        'topics': entry.topics,
        'task': info.task,
        'operator': info.operator,
        'notes': info.notes,
        'outcome': info.outcome,
        'ended_because': info.ended_because,
        'tags': list(info.tags),
        'contract_hash': info.contract_hash,
        'software_version': info.software_version,
        'source': info.source,
        'loss': info.loss,
    }
