"""Core logic without ROS or torch: time, buffers, alignment, wire codecs, contract, stack description, health."""
