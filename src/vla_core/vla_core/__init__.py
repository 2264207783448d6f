"""Core logic of the suite: time, buffers, alignment, wire codecs, contract, health.

Needs numpy and PyYAML, deliberately neither ROS nor torch: driver machines and training servers
share it.
"""
