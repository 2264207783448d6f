"""The ROS side of the verbs that record and replay episodes."""
