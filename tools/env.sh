# Sourced by ./vla and the Makefile: puts the workspace's environment into this shell. Needs $root, the checkout.
# Where ROS 2 is sourced it stays the underlay; elsewhere .venv holds ROS itself.
if [ ! -f "$root/install/setup.bash" ]; then
  echo "the workspace is not built: run 'make setup' in $root" >&2
  exit 1
fi
# Sources newer than the build, such as after `git pull`: new messages and launch files would be missing.
_stale="$(cd "$root" && find src -newer install/.build-stamp \( -name package.xml -o -name setup.py -o -name CMakeLists.txt \
  -o -name '*.msg' -o -name '*.srv' -o -name '*.action' \) -print -quit 2>/dev/null)"
while [ -z "$_stale" ] && read -r _file; do
  [ -e "$root/install/share/vla_bringup/${_file#launch/}" ] || _stale="$_file"
done < <(cd "$root" && find launch -type f -newer install/.build-stamp \( -name '*.yaml' -o -name '*.py' -o -name '*.xml' \) 2>/dev/null)
if [ -n "$_stale" ]; then
  echo "the workspace was built from other sources ($_stale is newer): run 'make setup' in $root" >&2
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
