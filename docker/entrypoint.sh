#!/usr/bin/env bash
# Puts ROS 2 and the suite into the environment, then becomes the command.
set -eo pipefail
source /opt/ros/jazzy/setup.bash
source /ws/install/setup.bash
exec "$@"
