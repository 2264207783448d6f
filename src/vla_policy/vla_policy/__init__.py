"""The policy: vision-language encoder, sensor encoder, action heads, strict checkpoints."""
