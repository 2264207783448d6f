"""The version of a checkpoint's layout, without torch: `vla_cli` asks it before it starts a stack.

Raised when older code could not read what is written, or the other way round.
"""

POLICY_FORMAT = 3
