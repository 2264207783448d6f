"""Several processes of one run on this machine, found by each other on the loopback address.

Used by `vla train --processes N`. On a cluster `torchrun` or `accelerate launch` do this; a
process that they started is left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import gc
import os
import signal
import socket
import subprocess
import sys
from types import FrameType

from vla_core.errors import VlaError

_LOOPBACK = '127.0.0.1'
_END_S = 10.0


def needs_launch(processes: int) -> bool:
    """Whether this is the one process that has to start the others."""
    return processes > 1 and 'RANK' not in os.environ


def launch(processes: int) -> int:
    """Run this very command in `processes` processes; return the first exit code that is not 0.

    When one fails the others are ended: they would wait for it. A first Ctrl-C lets them save.
    VlaError names a process that a signal ended.
    """
    port = _free_port()
    before = signal.signal(signal.SIGTERM, _interrupt)
    # In groups of their own, so that a Ctrl-C comes to each of them once: from here.
    started = [subprocess.Popen(sys.orig_argv, env=_environment(rank, processes, port),
                                process_group=0)
               for rank in range(processes)]  # fmt: skip
    try:
        return _wait(started)
    except KeyboardInterrupt:
        for process in started:
            process.send_signal(signal.SIGINT)
        return max(_exit_code(process.wait()) for process in started)
    finally:
        for process in started:
            _end(process)
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait(started: list[subprocess.Popen[bytes]]) -> int:
    running = list(started)
    while running:
        for process in list(running):
            try:
                code = process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            running.remove(process)
            if code:
                _check_signals(started)
                return code
    return 0


def _check_signals(started: list[subprocess.Popen[bytes]]) -> None:
    """Raise VlaError where a signal ended a process: others, which lost it, end by themselves."""
    for rank, process in enumerate(started):
        code = process.poll()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            why = ': too little memory?' if -code == signal.SIGKILL else ''
            raise VlaError(
                f'process {rank} of {len(started)} was ended by {name}{why} (what was saved is '
                'whole)'
            )


def _exit_code(code: int) -> int:
    """Code of a process as a shell tells it: 128 and the number of the signal that ended it."""
    return code if code >= 0 else 128 - code


@contextmanager
def beside_others() -> Iterator[None]:
    """Work in the group of a run's processes, and leave it at the end.

    The end of another one is said in one line, instead of torch's traceback.
    """
    from torch.distributed import DistError

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, DistError) and 'gloo/transport' not in str(error):
            raise
        rank = os.environ.get('RANK', '0')
        raise VlaError(f'process {rank}: lost another process of this run, so it ends') from error
    finally:
        _leave_group()


def _leave_group() -> None:
    """End the group with its threads: one that still freed a tensor while the interpreter ended
    would take the process with it (SIGABRT).

    torch's DTensor keeps meshes for good, and a mesh its group, which nothing public takes away.
    """
    from torch.distributed import destroy_process_group, is_initialized
    from torch.distributed.device_mesh import DeviceMesh

    if not is_initialized():
        return
    destroy_process_group()
    for mesh in [item for item in gc.get_objects() if type(item) is DeviceMesh]:
        getattr(mesh, '_pg_registry', {}).clear()
    gc.collect()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    return os.environ | {
        'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(processes),
        'LOCAL_WORLD_SIZE': str(processes), 'MASTER_ADDR': _LOOPBACK, 'MASTER_PORT': str(port),
        'GLOO_SOCKET_IFNAME': 'lo',
    }  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
