"""The inference engines without ROS: everything here runs and is tested with plain threads and
fakes.
"""
