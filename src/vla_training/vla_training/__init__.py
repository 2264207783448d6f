"""Pretraining, feature cache, training and closed-loop evaluation of the policy. No ROS."""

__version__ = '0.1.0'
