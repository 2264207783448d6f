"""Episodes: recording, reading, alignment into samples, import and export. No torch, no ROS."""
