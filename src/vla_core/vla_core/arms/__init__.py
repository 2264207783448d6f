"""Arms by name: limits and kinematics, for the safety gate, the simulator and the emulator."""
