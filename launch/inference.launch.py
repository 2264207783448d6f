"""The vision-language model and the action expert alone, for the machine with the GPU.

`ros2 launch vla_bringup inference.launch.py --show-args` lists the arguments; they come from
stack.yaml.
"""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parent))

import stack_launch  # noqa: E402 - launch files are no package; it lies beside this file


def generate_launch_description():
    """Return what `ros2 launch` runs."""
    return stack_launch.description(('inference',))
