"""The safety gate: the last thing before the robot. It does not trust the policy."""
