"""An emulator of the Mecademic Meca500's controller: text protocol, state machine, motion."""
