"""Machine, commit and the printed table of `vla bench vlm`.

Used by `bench_vlm` only. Deliberately measures nothing.
"""

import os
from pathlib import Path
import platform
import subprocess
from typing import Any

import torch


def machine(device: torch.device) -> dict[str, Any]:
    """What ran it: processor, device, versions, commit."""
    import transformers

    return {
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else cpu_name(),
        'cpu': cpu_name(),
        'cpu_count': os.cpu_count(),
        'torch_threads': torch.get_num_threads(),
        'load_average': os.getloadavg()[0],  # others' work on the same cores shows here
        'python': platform.python_version(),
        'torch': torch.__version__,
        'transformers': transformers.__version__,
        'commit': commit(),
    }


def cpu_name() -> str:
    """Name of the processor as Linux tells it."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or 'unknown'


def commit() -> str | None:
    """Commit of the working tree this file is in, "+" where changed; None outside git."""
    folder = Path(__file__).resolve().parent

    def git(*command: str) -> str:
        return subprocess.run(
            ['git', '-C', str(folder), *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git('rev-parse', '--short', 'HEAD') + (
            '+' if git('status', '--porcelain', '.') else ''
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def render(report: dict[str, Any]) -> str:
    """Table for people."""
    settings, tokens, where = report['settings'], report['tokens'], report['machine']
    work = report['work_tflop']
    lines = [
        f'{settings["preset"]} ({settings["weights"]} weights), {settings["views"]} views '
        f'{settings["width"]}x{settings["height"]}, {settings["dtype"]}, {settings["mode"]}, '
        f'{settings["runs"]} runs',
        f'{where["device"]}, torch {where["torch"]}, transformers {where["transformers"]}, '
        f'{where["torch_threads"]} CPU threads, commit {where["commit"] or "unknown"}',
        f'{tokens["prompt"]} tokens, {tokens["image"]} of them of images',
        '',
        f'{"":24}{"median ms":>12}{"p99 ms":>12}',
    ]
    for title, part in (('fast', 'fast_ms'), ('plain', 'plain_ms')):
        for stage, values in report[part].items():
            lines.append(f'{title + " " + stage:24}{values["p50"]:12.2f}{values["p99"]:12.2f}')
    lines += [
        '',
        f'work {work["total"]:.3f} TFLOP (vision {work["vision"]:.3f}, language '
        f'{work["language"]:.3f}) at {report["matrix_rate_tflops"]:.3f} TFLOP/s measured: '
        f'limit {report["limit_ms"]:.2f} ms',
        f'ratio to the limit: fast {report["ratio_to_limit"]:.2f}, plain '
        f'{report["plain_ratio_to_limit"]:.2f}; fast is {report["speed_up"]:.2f} times as fast',
        f'cosine of fast and plain features: least {report["cosine"]["least"]:.6f}, '
        f'mean {report["cosine"]["mean"]:.6f}',
    ]
    return '\n'.join(lines) + '\n'
