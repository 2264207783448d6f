"""The parquet files of a LeRobot dataset v3: frames, tasks, episodes.

Called by the LeRobot export. Frames are written in small groups, so that memory is flat in the
length of an episode; a new file is begun between episodes when one grows too big. Needs pyarrow
only: the index of tasks.parquet, which LeRobot reads by pandas, is described by hand.
"""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_data.exporting.features import DEFAULTS, Plan, WINDOW

GROUP = 50  # frames: 13 MB of sensor windows
_TYPES = {'float32': pa.float32(), 'int64': pa.int64(), 'bool': pa.bool_()}


class FrameFiles:
    """Writes frames, episode after episode. One thread."""

    def __init__(self, folder: Path, pattern: str, plan: Plan, limit_bytes: int) -> None:
        """`pattern` holds {file_index}."""
        self._folder, self._pattern, self._limit_bytes = folder, pattern, limit_bytes
        self._schema = _schema(plan)
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None
        self.file_index = -1

    @property
    def path(self) -> Path:
        """The current file."""
        return self._folder / self._pattern.format(file_index=self.file_index)

    def begin_episode(self) -> int:
        """Go on in the file, or begin one; return its index."""
        if self._writer is not None and self.path.stat().st_size >= self._limit_bytes:
            self.close()
        if self._writer is None:
            self.file_index += 1
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self.path, self._schema, compression='snappy')
        return self.file_index

    def add(self, row: dict[str, Any]) -> None:
        """Add one frame with all columns."""
        self._rows.append(row)
        if len(self._rows) == GROUP:
            self.end_episode()

    def end_episode(self) -> None:
        """Write what is waiting."""
        if not self._rows:
            return
        columns = [_column([row[field.name] for row in self._rows], field.type)
                   for field in self._schema]  # fmt: skip
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self.end_episode()
            self._writer.close()
            self._writer = None


def write_tasks(path: Path, tasks: list[str]) -> None:
    """Write tasks.parquet: the instruction is the index of a pandas frame of `task_index`."""
    index = '__index_level_0__'
    described = [
        {'name': 'task_index', 'field_name': 'task_index', 'pandas_type': 'int64',
         'numpy_type': 'int64', 'metadata': None},
        {'name': None, 'field_name': index, 'pandas_type': 'unicode', 'numpy_type': 'object',
         'metadata': None},
    ]  # fmt: skip
    pandas = {'index_columns': [index], 'column_indexes': [], 'columns': described}
    table = pa.table(
        {
            'task_index': pa.array(range(len(tasks)), pa.int64()),
            index: pa.array(tasks, pa.string()),
        }
    )
    pq.write_table(table.replace_schema_metadata({'pandas': json.dumps(pandas)}), path)


def write_episodes(path: Path, rows: list[Mapping[str, Any]]) -> None:
    """Write the episodes' table: one row each, all with the same columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [_plain(row[name]) for row in rows] for name in rows[0]}
    pq.write_table(pa.Table.from_pydict(columns), path, compression='snappy')


def _schema(plan: Plan) -> pa.Schema:
    fields = []
    for name, (dtype, names) in plan.vectors().items():
        kind = _TYPES[dtype]
        fields.append(pa.field(name, pa.list_(kind, len(names)) if names else kind))
    if plan.sensor:
        fields.append(pa.field(WINDOW, pa.list_(pa.list_(pa.float32()))))
    fields += [pa.field(name, _TYPES[dtype]) for name, dtype in DEFAULTS.items()]
    return pa.schema(fields)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.concatenate([np.asarray(value) for value in values]), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
    if pa.types.is_list(kind):
        return _matrices(np.stack(values))
    return pa.array(values, kind)


def _matrices(stacked: np.ndarray) -> pa.Array:
    """(N, R, C) float32 to list<list<float>> without touching single numbers."""
    count, rows, width = stacked.shape
    flat = pa.array(stacked.reshape(-1), pa.float32())
    inner = pa.ListArray.from_arrays(
        pa.array(np.arange(count * rows + 1) * width, pa.int32()), flat
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * rows, pa.int32()), inner)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
