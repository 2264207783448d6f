"""How the four stages of a pass are run: plainly, compiled, or as captured CUDA graphs.

Used by the encoder, which gives it the stages of one plan. A runner belongs to one plan (fixed
shapes). It knows nothing of models; deliberately no fallback: what cannot be captured is an error,
not a slow surprise.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import time
from typing import Any, Literal

import torch

STAGES = ('preprocess', 'vision', 'language', 'pool')
Mode = Literal['eager', 'compile', 'cuda-graph', 'compile+cuda-graph']
MODES: tuple[Mode, ...] = ('eager', 'compile', 'cuda-graph', 'compile+cuda-graph')
WARM_UP_PASSES = 3  # before capture: libraries allocate their workspaces and choose kernels
Stage = Callable[[Any], Any]


class StageTimer:
    """Wall time of each stage in seconds, the device synchronised at each border."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the body to `stage`."""
        started = time.perf_counter()
        yield
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


class Runner:
    """Runs the stages of one plan, each taking the result of the one before."""

    def __init__(self, stages: dict[str, Stage], mode: Mode, device: torch.device) -> None:
        if 'cuda-graph' in mode and device.type != 'cuda':
            raise ValueError(f'mode {mode} needs a CUDA device, not {device}')
        self._device = device
        self._stages = dict(stages)
        if mode.startswith('compile'):
            self._stages = {
                name: torch.compile(stage, dynamic=False, fullgraph=True)
                for name, stage in stages.items()
            }
        self._graphs: dict[str, tuple[torch.cuda.CUDAGraph, Any]] | None = None
        self._inputs: list[torch.Tensor] = []
        self._use_graphs = 'cuda-graph' in mode

    def run(self, images: list[torch.Tensor], timer: StageTimer) -> torch.Tensor:
        """Run all stages on device images; the result may be overwritten by the next run."""
        if not self._use_graphs:
            value: Any = images
            for name in STAGES:
                with timer.measure(name):
                    value = self._stages[name](value)
            return value
        if self._graphs is None:
            self._capture(images)
        for static, image in zip(self._inputs, images):
            static.copy_(image)
        for name, (graph, _) in self._graphs.items():
            with timer.measure(name):
                graph.replay()
        return self._graphs[STAGES[-1]][1]

    def _capture(self, images: list[torch.Tensor]) -> None:
        """Capture each stage on the output of the one before, in one memory pool."""
        self._inputs = [image.clone() for image in images]
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_PASSES):
                value: Any = self._inputs
                for name in STAGES:
                    value = self._stages[name](value)
        torch.cuda.current_stream(self._device).wait_stream(side)
        torch.cuda.synchronize(self._device)
        graphs, pool, value = {}, torch.cuda.graph_pool_handle(), self._inputs
        for name in STAGES:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                value = self._stages[name](value)
            graphs[name] = (graph, value)
        self._graphs = graphs
