"""Codecs of the wire formats; the only place for degrees, millimetres and f64 times.

Called by the devices of vla_drivers and the emulators of vla_sim. All raise only
`WireFormatError`, whose `kind` is counted by the caller. Deliberately no sockets here. Formats:
legacy lab system, little-endian.
"""
