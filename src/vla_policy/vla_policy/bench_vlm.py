"""`vla bench vlm`: images to features by stage, beside the plain forward and the limit.

Called by the command line, and alone on a machine without ROS (`python3 -m vla_policy.bench_vlm`).
Everything compared is measured in the same run on the same weights: the fast path by stage with
synchronised timers, the plain `transformers` forward with its processor and head, the device's
matrix rate. Deliberately measures no JPEG decoding and no transport.
"""

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import shlex
import sys
from typing import Any

import torch

from vla_core.errors import did_you_mean, VlaError
from vla_policy.bench_report import machine, render
from vla_policy.bench_subject import (
    compare,
    make_images,
    make_subject,
    TASK,
    time_fast,
    time_plain,
)
from vla_policy.checkpoint_load import choose_device, choose_dtype
from vla_policy.host import keep_freed_memory
from vla_policy.presets import PRESETS
from vla_policy.runner import Mode
from vla_policy.work import language_work, matrix_rate, vision_work, Work


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, and names the option that was meant."""

    def error(self, message: str) -> Any:
        raise VlaError(f'vla bench vlm: {message}')

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse all of `argv`; an unknown option is an error that names the nearest one."""
        options, unknown = self.parse_known_args(argv)
        if unknown:
            hint = did_you_mean(unknown[0].split('=')[0], self._option_string_actions)
            self.error(f'unknown option {unknown[0]}{hint}')
        return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0, or 1 after one line of what is wrong."""
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        options = _parser().parse(words)
        report = {'command': shlex.join(['vla', 'bench', 'vlm', *words]), **run(options)}
        if options.json:
            _write(Path(options.json), report)
    except VlaError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    sys.stdout.write(render(report))
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything and return plain data."""
    device = choose_device(options.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the VLM node does
    mode = _mode(options, device)
    dtype = choose_dtype(options.dtype, device)
    images = make_images(options.views, options.height, options.width)
    subject = make_subject(options, device, dtype, mode)
    fast = time_fast(subject.encoder, images, options.runs)
    plain = time_plain(subject.plain, images, options.runs, device)
    rate = matrix_rate(device, dtype)
    plan = subject.encoder.backbone.make_plan(tuple(image.shape[:2] for image in images), TASK)
    work = Work(
        vision_work(subject.config.vision_config, [view.grid for view in plan.layout.views]),
        language_work(subject.config.text_config, plan.layout.tokens),
    )
    limit_ms = work.total / rate * 1e3
    return {
        'settings': {
            'preset': options.preset,
            'weights': _weights_name(options),
            'views': options.views,
            'width': options.width,
            'height': options.height,
            'dtype': str(dtype)[6:],
            'mode': mode,
            'runs': options.runs,
            'layers': options.layers,
            'pooling': options.pooling,
        },
        'machine': machine(device),
        'tokens': {
            'prompt': plan.layout.tokens,
            'image': sum(view.grid.tokens for view in plan.layout.views),
        },
        'work_tflop': {
            'vision': work.vision / 1e12,
            'language': work.language / 1e12,
            'total': work.total / 1e12,
        },
        'matrix_rate_tflops': rate / 1e12,
        'limit_ms': limit_ms,
        'fast_ms': fast,
        'plain_ms': plain,
        'ratio_to_limit': fast['total']['p50'] / limit_ms,
        'plain_ratio_to_limit': plain['total']['p50'] / limit_ms,
        'speed_up': plain['total']['p50'] / fast['total']['p50'],
        'cosine': compare(subject, images),
    }


def _mode(options: argparse.Namespace, device: torch.device) -> Mode:
    if options.cuda_graph and device.type != 'cuda':
        raise VlaError(f'--cuda-graph needs a CUDA device, not {device}')
    parts = [
        name
        for name, wanted in (('compile', options.compile), ('cuda-graph', options.cuda_graph))
        if wanted
    ]
    return '+'.join(parts) or 'eager'  # type: ignore[return-value]


def _weights_name(options: argparse.Namespace) -> str:
    if options.random_weights:
        return 'random'
    return options.model or PRESETS[options.preset].source or 'random'


def _write(path: Path, report: dict[str, Any]) -> None:
    scratch = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(report, indent=1) + '\n')
        scratch.replace(path)
    except OSError as error:
        raise VlaError(f'{path}: cannot be written ({error.strerror})') from error


def _parser() -> _Parser:
    parser = _Parser(
        prog='vla bench vlm', description='time images to features, by stage', allow_abbrev=False
    )
    add = parser.add_argument
    add('--preset', default='nano', choices=list(PRESETS))
    add('--model', help="folder or hub name of the weights (default: the preset's)")
    add('--random-weights', action='store_true', help='the architecture alone, no download')
    add('--device', help='cpu, cuda or cuda:N (default: cuda where there is one)')
    add('--dtype', default='auto', help='auto, float32, bfloat16 or float16')
    add('--views', type=_count, default=5)
    add('--width', type=_count, default=640, help='pixels')
    add('--height', type=_count, default=360, help='pixels')
    add('--runs', type=_count, default=20, help='timed runs, after three untimed ones')
    add('--pooling', default='grid', choices=['grid', 'queries', 'mean'])
    add('--compile', action='store_true', help='torch.compile the stages (minutes at 3B, once)')
    add('--cuda-graph', action='store_true', help='capture each stage as a CUDA graph')
    add('--threads', type=_count, help='CPU threads (default: all)')
    add('--layers', type=_count, help='cut both towers to this many layers (random weights)')
    add('--json', metavar='FILE', help='write all figures here')
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text}: expected a whole number from 1')
    return value


if __name__ == '__main__':
    sys.exit(main())
