"""CPU and memory of processes with all their children, cheaply, and what machine this is.

Used by the monitor and the benchmark. Children are found by the kernel's own list,
/proc/<pid>/task/*/children, and not by a walk over all processes.
"""

from dataclasses import dataclass
import os
from pathlib import Path
import platform
import subprocess

_TICK_S = 1.0 / os.sysconf('SC_CLK_TCK')
_PAGE_BYTES = os.sysconf('SC_PAGE_SIZE')


@dataclass(frozen=True)
class Usage:
    """What a process and its children have used: CPU seconds by pid, resident memory in bytes."""

    cpu_s: dict[int, float]
    rss_bytes: int

    def cpu_since(self, earlier: 'Usage') -> float:
        """CPU seconds between two samples; a child that came in between counts from its start."""
        return sum(
            max(0.0, value - earlier.cpu_s.get(pid, 0.0)) for pid, value in self.cpu_s.items()
        )


def family(pid: int) -> list[int]:
    """Return `pid` and all its descendants that still run."""
    result, queue = [], [pid]
    while queue:
        current = queue.pop()
        result.append(current)
        for path in Path(f'/proc/{current}/task').glob('*/children'):
            try:
                queue += [int(word) for word in path.read_text().split()]
            except OSError:
                continue  # it ended while we looked
    return result


def usage(pid: int, with_children: bool = True) -> Usage | None:
    """Return the usage of a process and its children; None when it is gone."""
    cpu_s, rss = {}, 0
    for member in family(pid) if with_children else [pid]:
        try:
            fields = Path(f'/proc/{member}/stat').read_text().rpartition(')')[2].split()
            rss += int(Path(f'/proc/{member}/statm').read_text().split()[1]) * _PAGE_BYTES
        except OSError:
            continue
        # Fields 14 and 15 of proc(5), user and system time; two fields are cut off before.
        cpu_s[member] = (int(fields[11]) + int(fields[12])) * _TICK_S
    return Usage(cpu_s, rss) if cpu_s else None


def pss_bytes(pid: int) -> int | None:
    """Return the proportional set size (shared pages divided among their users) of a process and
    its children.
    """
    total = 0
    for member in family(pid):
        try:
            text = Path(f'/proc/{member}/smaps_rollup').read_text()
        except OSError:
            return None
        total += next(
            (int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith('Pss:')),
            0,
        )
    return total


def machine() -> dict[str, str | int | float]:
    """Return the CPU's model, the cores this process may use, the memory, the kernel."""
    model = ''
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
                break
    except OSError:
        pass
    memory = os.sysconf('SC_PHYS_PAGES') * _PAGE_BYTES
    return {
        'cpu': model or platform.processor(),
        'cores': len(os.sched_getaffinity(0)),
        'memory_gb': round(memory / 1e9, 1),
        'system': platform.platform(),
        'python': platform.python_version(),
    }


def commit(folder: Path) -> str:
    """Return the commit of a checkout, with '+changes' when files differ from it; '' outside of
    git.
    """

    def git(*words):
        result = subprocess.run(
            ['git', '-C', str(folder), *words], capture_output=True, text=True, check=False
        )
        return result.stdout.strip() if result.returncode == 0 else None

    try:
        head, changes = (
            git('rev-parse', '--short=12', 'HEAD'),
            git('status', '--porcelain', '-uno'),
        )
    except OSError:  # no git
        return ''
    return (head or '') + ('+changes' if head and changes else '')
