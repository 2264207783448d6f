"""Lifecycle drivers of robot, cameras and OCT/force sensor, and their device protocols."""
