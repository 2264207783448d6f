"""The operator's side of the robot: services of the driver, goals of the task server."""
