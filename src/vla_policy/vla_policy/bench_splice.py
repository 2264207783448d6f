"""`vla bench splice`: how smoothly each chunk policy takes one chunk over from another.

Called by the command line and the tests. Chunks are made, published late and executed at 100 Hz in
simulated time by the very executor of the robot driver; its meter does the measuring (see
vla_core.execution.splice for the definitions). Deliberately without a robot and without the gate:
what the gate would smooth must show here.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
import math
import os
import time
from typing import Any

import numpy as np
import torch

from vla_core.execution.continuation import Continuation
from vla_core.execution.executor import ChunkExecutor, ChunkPolicy, ExecutorSettings, POLICIES
from vla_core.execution.values import TimedChunk
from vla_core.model_input import ModelInput
from vla_core.stats import percentiles
from vla_core.timebase import NS
from vla_policy.bench_report import commit, cpu_name
from vla_policy.checkpoint import load_expert, read_manifest
from vla_policy.noisy_policy import NoisyPolicy

TARGET_RATIO = 1.2  # of `ensemble` and `rtc` on the noisy policy
COMMAND_NS = NS // 100
DELAY_S = (0.02, 0.04)  # tick to publication: 20 ms with, 30 ms without real-time priority
RATIOS = ('ratio_p50', 'ratio_p99', 'length_ratio_p50', 'jump_ratio_p50')

# (seed, prefix (n, dims) or None, committed steps) -> chunk (H, dims)
Draw = Callable[[int, np.ndarray | None, int], np.ndarray]


@dataclass(frozen=True)
class Source:
    """Where chunks come from."""

    name: str
    draw: Draw
    takes_prefix: bool
    period_ns: int = NS // 10


@dataclass(frozen=True)
class Options:
    """How long, and how the ensemble weighs."""

    ticks: int = 300
    seed: int = 0
    ensemble_decay: float = 0.01


def noisy_source() -> Source:
    """Return the Gaussian process."""
    return Source('noisy policy (Gaussian process)', NoisyPolicy().chunk, takes_prefix=True)


def checkpoint_source(folder: str) -> Source:
    """Return a checkpoint's expert on one made-up input: only the head's own noise differs."""
    expert, contract = load_expert(folder), read_manifest(folder).contract
    random = np.random.default_rng(0)
    shape = (expert.config.feature_tokens, expert.config.feature_width)
    tokens = random.normal(size=shape).astype(np.float16)
    samples, channels = contract.sensor.samples, contract.sensor.channels
    inputs = ModelInput(
        window=random.normal(size=(samples, channels)).astype(np.float32),
        window_mask=np.ones(samples, bool),
        state=random.normal(0, 0.5, contract.state.width).astype(np.float32),
        state_age_s=0.02,
        image_age_s=np.full(expert.config.sources, 0.3, np.float32),
        view_motion=np.zeros((expert.config.sources, 6), np.float32),
        feature_age_s=0.4,
    )

    def draw(seed: int, prefix: np.ndarray | None, committed: int) -> np.ndarray:
        return expert.act(tokens, inputs, seed, prefix, committed)

    return Source(f'checkpoint {folder}', draw, expert.takes_prefix, contract.action.period_ns)


def run(source: Source, options: Options) -> dict[str, Any]:
    """Measure every policy on one source; `rtc` is None where the head cannot continue."""
    policies = {
        policy: measure(source, policy, options)
        if policy != 'rtc' or source.takes_prefix
        else None
        for policy in POLICIES
    }
    return {'source': source.name, 'policies': policies}


def measure(source: Source, policy: ChunkPolicy, options: Options) -> dict[str, Any]:
    """Execute `ticks` chunks by one policy; return the meter's figures and processor times."""
    period_ns = source.period_ns
    settings = ExecutorSettings(policy, period_ns, options.ensemble_decay)
    executor, delays = ChunkExecutor(settings), np.random.default_rng(options.seed)
    continuation: Continuation | None = None
    durations_ms = []
    for index in range(options.ticks):
        tick_ns, delay_s = index * period_ns, float(delays.uniform(*DELAY_S))
        prefix = continuation.prefix(tick_ns, '')[0] if continuation else None
        given = (prefix.delta, prefix.committed_steps) if prefix else (None, 0)
        started_s = time.thread_time()
        delta = source.draw(options.seed + index, *given)
        durations_ms.append((time.thread_time() - started_s) * 1e3)
        if policy == 'rtc':
            continuation = continuation or Continuation(len(delta), period_ns)
            continuation.published(tick_ns, delta, '', delay_s)
        stamps_ns = tick_ns + period_ns * np.arange(len(delta))
        chunk = TimedChunk(index + 1, tick_ns, stamps_ns, delta, committed_steps=given[1])
        _execute(executor, chunk, tick_ns + round(delay_s * NS), period_ns)
    return {
        **asdict(executor.splice.figures()),
        'draw_cpu_ms': percentiles(durations_ms),
        'counters': executor.counters.snapshot(),
    }


def _execute(
    executor: ChunkExecutor, chunk: TimedChunk, published_ns: int, period_ns: int
) -> None:
    """Ask 100 times a second through one period; the chunk comes in the middle of it."""
    added = False
    for now_ns in range(chunk.made_ns, chunk.made_ns + period_ns, COMMAND_NS):
        if now_ns >= published_ns and not added:
            executor.add(chunk, published_ns)
            added = True
        executor.at(now_ns)


def report(results: list[dict[str, Any]], options: Options, command: str = '') -> dict[str, Any]:
    """Return everything as plain data for JSON: what is not a number is null."""
    for result in results:
        for figures in result['policies'].values():
            for key in RATIOS if figures else ():
                figures[key] = figures[key] if math.isfinite(figures[key]) else None
    machine = {
        'cpu': cpu_name(),
        'torch_threads': torch.get_num_threads(),
        'load_average': os.getloadavg()[0],
    }
    return {
        'command': command,
        'settings': asdict(options),
        'machine': machine,
        'commit': commit(),
        'target_ratio': TARGET_RATIO,
        'results': results,
    }


def lines(content: dict[str, Any]) -> list[str]:
    """Return the tables as plain lines."""
    settings, machine = content['settings'], content['machine']
    text = [
        f'{machine["cpu"]}, {machine["torch_threads"]} threads, commit {content["commit"] or "-"};'
        f' {settings["ticks"]} chunks, seed {settings["seed"]}, ensemble decay '
        f'{settings["ensemble_decay"]:g}',
        'change of the executed step at a splice / median change inside chunks (ratio), / median '
        'length of a step',
    ]
    for result in content['results']:
        text += ['', result['source'], f'{"":10}{"ratio p50":>10}{"p99":>8}{"length":>8}'
                 f'{"jump":>8}{"inside mm":>11}{"step mm":>9}{"CPU ms":>9}']  # fmt: skip
        text += [_row(policy, figures) for policy, figures in result['policies'].items()]
    return [*text, '', f'target: ensemble and rtc <= {TARGET_RATIO:g} on the noisy policy']


def _row(policy: str, figures: dict[str, Any] | None) -> str:
    if figures is None:
        return f'{policy:10}{"-":>10}  the head of this checkpoint cannot continue a chunk'
    p50, p99, length, jump = (_number(figures[key]) for key in RATIOS)
    inside, step = figures['inside_change_m'] * 1e3, figures['step_length_m'] * 1e3
    drawn = figures['draw_cpu_ms']['p50']
    return f'{policy:10}{p50:>10}{p99:>8}{length:>8}{jump:>8}{inside:11.3f}{step:9.3f}{drawn:9.2f}'


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
