"""Gathers records into what the monitor shows: counts, rates, ages, problems. No ROS, no terminal.

Fed and asked by one thread, the monitor's loop; the web server gets finished snapshots. It
deliberately keeps a minute of history only, whatever the run's length.
"""

from collections import deque
import math

from vla_cli.monitor.operation import Operation
from vla_cli.monitor.snapshot import ActionPart, AgePart, ProblemPart, Snapshot, VlPart
from vla_cli.records import ChunkRecord, PassRecord, REACTIONS, RobotRecord, STAGES, StatusRecord
from vla_core.contract import Contract
from vla_core.freshness import judge, Limits
from vla_core.stats import percentiles

HISTORY_NS = 60_000_000_000
RATE_NS = 10_000_000_000
DIAGNOSTIC_STALE_NS = 3_500_000_000  # they come at 1 Hz: three in a row are missing
DIAGNOSTIC_FORGET_NS = 60_000_000_000
_LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')  # by the numbers of DiagnosticStatus
_GRAVITY = ('ERROR', 'STALE', 'WARN')
# Words in a counter's key that mean that data was lost. Late, duplicated or overwritten data is no
# loss: the first two are in the diagnostics, the last is what a slow model does by design.
LOSS_WORDS = ('lost', 'rejected', 'dropped', 'malformed', 'refused')
# Items that count what the gate refused: no data was lost, and it is shown by itself.
OPERATION = ('gate', 'commands', 'task')


class Model:
    """The newest of everything, and a minute of passes and chunks."""

    def __init__(self, contract: Contract):
        self._contract = contract
        self._passes: deque[PassRecord] = deque()
        self._chunks: deque[ChunkRecord] = deque()
        self._diagnostics: dict[str, StatusRecord] = {}
        self._seen_ns: dict[str, int] = {}
        self._robot = RobotRecord()
        self.operation = Operation()
        self._joint1_rad: float | None = None
        self._position_x_m: float | None = None

    def add_pass(self, record: PassRecord) -> None:
        """Take one pass of the vision-language model."""
        if self._passes and record.feature_id <= self._passes[-1].feature_id:
            self._passes.clear()  # the node was restarted
        self._passes.append(record)

    def add_chunk(self, record: ChunkRecord) -> None:
        """Take one tick of the action expert."""
        if self._chunks and record.chunk_id <= self._chunks[-1].chunk_id:
            self._chunks.clear()
        self._chunks.append(record)

    def add_status(self, record: StatusRecord, now_ns: int) -> None:
        """Take one entry of /diagnostics."""
        self._diagnostics[record.name] = record
        self._seen_ns[record.name] = now_ns

    def set_robot(self, record: RobotRecord) -> None:
        """Take the state of the robot connection."""
        self._robot = record

    def set_pose(self, joint1_rad: float | None = None, position_x_m: float | None = None) -> None:
        """Take the first joint angle or the TCP position."""
        self._joint1_rad = self._joint1_rad if joint1_rad is None else joint1_rad
        self._position_x_m = self._position_x_m if position_x_m is None else position_x_m

    def snapshot(self, now_ns: int, **more) -> Snapshot:
        """Return what is to be shown; `more` are fields this model does not know (processes)."""
        self._forget(now_ns)
        last = self._chunks[-1] if self._chunks else None
        held = [chunk for chunk in self._chunks if chunk.reaction >= 2]
        window = self._contract.sensor.samples
        return Snapshot(
            time_ns=now_ns,
            task=last.task if last else '',
            reaction=REACTIONS[last.reaction] if last else '',
            reasons=last.reasons if last else (),
            held_recently=len(held),
            last_reason=held[-1].reasons[0] if held and held[-1].reasons else '',
            chunk_age_s=(now_ns - last.published_ns) / 1e9 if last else None,
            vl=self._vl(),
            actions=self._actions(),
            images=self._images(),
            sensor_filled=round(last.sensor_fill * window) if last and _windowed(last) else None,
            policy=last.checkpoint_hash if last else '',
            sensor_window=window,
            sensor_gap_ms=last.sensor_max_gap_s * 1e3 if last else None,
            joint1_deg=_scaled(self._joint1_rad, 180 / math.pi),
            position_x_mm=_scaled(self._position_x_m, 1e3),
            robot=' '.join(word for word in (self._robot.device, self._robot.state) if word),
            command=self.operation.command(now_ns),
            goal=self.operation.goal(now_ns, self._diagnostics.values()),
            ages=self._ages(),
            losses=self._losses(),
            images_unused=self._passes[-1].images_overwritten if self._passes else 0,
            problems=self._problems(now_ns),
            **more,
        )

    def _forget(self, now_ns: int) -> None:
        for records in (self._passes, self._chunks):
            # One is kept: the monitor shows the last known state of a node that has ceased.
            while len(records) > 1 and records[0].published_ns < now_ns - HISTORY_NS:
                records.popleft()
        for name, seen_ns in list(self._seen_ns.items()):
            if seen_ns < now_ns - DIAGNOSTIC_FORGET_NS:
                del self._seen_ns[name], self._diagnostics[name]

    def _vl(self) -> VlPart:
        if not self._passes:
            return VlPart()
        times_ms = [record.total_s * 1e3 for record in self._passes]
        columns = zip(*(record.stages_s for record in self._passes))
        stages = {name: sum(column) / len(column) * 1e3 for name, column in zip(STAGES, columns)}
        return VlPart(
            updates=self._passes[-1].feature_id,
            avg_ms=sum(times_ms) / len(times_ms),
            p99_ms=percentiles(times_ms, (99,))['p99'],
            hz=_rate([record.published_ns for record in self._passes]),
            stages_ms=stages,
        )

    def _actions(self) -> ActionPart:
        if not self._chunks:
            return ActionPart()
        published = [record.published_ns for record in self._chunks]
        periods = [(b - a) / 1e6 for a, b in zip(published, published[1:])]
        figures = percentiles(periods, (50, 99, 100))
        times_ms = [record.inference_s * 1e3 for record in self._chunks]
        return ActionPart(
            actions=self._chunks[-1].chunk_id,
            avg_ms=sum(times_ms) / len(times_ms),
            hz=_rate(published),
            period_p50_ms=figures['p50'],
            period_p99_ms=figures['p99'],
            period_max_ms=figures['max'],
            misses=self._chunks[-1].deadline_misses,
        )

    def _ages(self) -> tuple[AgePart, ...]:
        contract = self._contract
        rows = (
            ('images', 'image_age_s', contract.images.limits),
            ('features', 'feature_age_s', contract.features.limits),
            ('sensor', 'sensor_age_s', contract.sensor.limits),
            ('robot state', 'robot_age_s', contract.state.limits),
        )
        return tuple(self._age(*row) for row in rows)

    def _age(self, name: str, key: str, limits: Limits) -> AgePart:
        ages_ms = [getattr(record, key) * 1e3 for record in self._chunks]
        figures = percentiles(ages_ms, (50, 100))
        newest = ages_ms[-1] if ages_ms and math.isfinite(ages_ms[-1]) else None
        level = 'none'
        if newest is not None:
            level = judge(name, newest / 1e3, limits).reaction.name.lower().replace('use', 'ok')
        return AgePart(
            name,
            newest,
            figures['p50'],
            figures['max'],
            level,
            (limits.mark_s * 1e3, limits.hold_s * 1e3, limits.stop_s * 1e3),
        )

    def _images(self) -> dict[str, int]:
        """Images received per view, from the camera driver's diagnostics."""
        counts = {}
        for view in self._contract.view_names:
            for record in self._diagnostics.values():
                if record.name.rpartition(': ')[2] == view and 'received_total' in record.values:
                    counts[view] = _integer(record.values['received_total'])
        return counts

    def _losses(self) -> dict[str, int]:
        losses: dict[str, int] = {}
        for record in self._diagnostics.values():
            if record.name.rpartition(': ')[2] in OPERATION:
                continue
            for key, value in record.values.items():
                if any(word in key.split('_') for word in LOSS_WORDS):
                    losses[f'{record.name.rpartition("/")[2]} {key}'] = _integer(value)
        return losses

    def _problems(self, now_ns: int) -> tuple[ProblemPart, ...]:
        problems, silent = [], {}
        for name, record in self._diagnostics.items():
            silent_ns = now_ns - self._seen_ns[name]
            if silent_ns > DIAGNOSTIC_STALE_NS:
                node = name.partition(': ')[0]
                silent[node] = min(silent_ns, silent.get(node, silent_ns))
            elif record.level > 0:
                problems.append(ProblemPart(_LEVELS[min(record.level, 3)], name, record.message))
        for node, silent_ns in silent.items():  # one line a node, not one an item
            text = f'no diagnostics for {silent_ns / 1e9:.0f} s'
            problems.append(ProblemPart('STALE', node, text))
        return tuple(sorted(problems, key=lambda item: _GRAVITY.index(item.level)))


def _rate(stamps_ns: list[int]) -> float | None:
    """Events per second over the last ten seconds of the list."""
    recent = [stamp for stamp in stamps_ns if stamp > stamps_ns[-1] - RATE_NS]
    if len(recent) < 2 or recent[-1] == recent[0]:
        return None
    return (len(recent) - 1) * 1e9 / (recent[-1] - recent[0])


def _windowed(chunk: ChunkRecord) -> bool:
    """Whether the expert looks at a sensor window: the scripted one knows its age only."""
    return chunk.sensor_fill > 0.0 or not math.isfinite(chunk.sensor_age_s)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _integer(text: str) -> int:
    try:
        return int(float(text))
    except ValueError:
        return 0
