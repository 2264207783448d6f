# Sourced by ./vla and the Makefile: puts the workspace's environment into this shell. Needs $root, the checkout.
# Where ROS 2 is sourced it stays the underlay; elsewhere .venv holds ROS itself.
if [ ! -f "$root/install/setup.bash" ]; then
  echo "the workspace is not built: run 'make setup' in $root" >&2
  exit 1
fi
if [ -z "${ROS_DISTRO:-}" ]; then
  export AMENT_PREFIX_PATH="$root/.venv" CMAKE_PREFIX_PATH="$root/.venv"
  # What ros_wheels_bootstrapper would do by starting every Python process twice.
  for libs in "$root"/.venv/lib/python3*/site-packages/ros_*.libs "$root/.venv/lib"; do
    [ -d "$libs" ] && LD_LIBRARY_PATH="$libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  done
  export LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
fi
export VIRTUAL_ENV="$root/.venv" PATH="$root/.venv/bin:$PATH"
set +u  # colcon's setup scripts read unset variables
source "$root/install/setup.bash"
