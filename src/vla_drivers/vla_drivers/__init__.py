"""Lifecycle drivers of robot, cameras and OCT/force sensor, and the device protocols behind them."""
