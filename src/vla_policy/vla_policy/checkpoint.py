"""Checkpoints: make, describe, load. The one module other packages import for it.

The node packages and the command line call these; the work is in checkpoint_format,
checkpoint_load and checkpoint_create.
"""

from vla_policy.checkpoint_create import create_checkpoint, write_checkpoint
from vla_policy.checkpoint_derive import derive_checkpoint, recover_checkpoint
from vla_policy.checkpoint_format import describe, Manifest, PolicyConfig, read_manifest
from vla_policy.checkpoint_load import choose_dtype, load_expert, load_trainable, load_vlm
from vla_policy.errors import CheckpointError

__all__ = [
    'CheckpointError',
    'Manifest',
    'PolicyConfig',
    'choose_dtype',
    'create_checkpoint',
    'derive_checkpoint',
    'describe',
    'load_expert',
    'load_trainable',
    'load_vlm',
    'read_manifest',
    'recover_checkpoint',
    'write_checkpoint',
]
