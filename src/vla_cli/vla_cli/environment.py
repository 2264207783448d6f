"""The DDS environment of the stack for tools that join it: monitor and benchmark.

Called before rclpy is imported, so that a tool meets the nodes on the same transports and
discovery range.
"""

import os

from vla_cli import workspace
from vla_core.stack import load_stack, resolve


def prepare() -> None:
    """Add the stack's environment to this process where it is not set."""
    resolved = resolve(load_stack(workspace.default_stack()))
    os.environ.update(resolved.added_environment(os.environ))
