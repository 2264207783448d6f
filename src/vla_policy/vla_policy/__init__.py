"""The policy: vision-language encoder, sensor encoder, action heads, strict checkpoints."""

__version__ = '0.1.0'  # of the code, written into each checkpoint
