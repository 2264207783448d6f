"""Starts processes, keeps them running, ends them all: no ROS in here."""
