"""From chunks of steps to what the robot should do now: execution by time, splices measured."""
