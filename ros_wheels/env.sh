# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
#
# Environment for kgnpro_ros after `make setup`; source it from bash or zsh:
#   source ros_wheels/env.sh
# On top of a sourced ROS installation it only adds what was built here.

_kgnpro_root="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
_kgnpro_venv="$_kgnpro_root/.venv"
_kgnpro_install="$_kgnpro_root/.build/ros/install"

if [ ! -x "$_kgnpro_venv/bin/python" ]; then
  echo "ros_wheels/env.sh: no environment in $_kgnpro_venv; run 'make setup' first" >&2
  unset _kgnpro_root _kgnpro_venv _kgnpro_install
  return 1
fi

# Puts $2 in front of the colon-separated variable $1, once.
_kgnpro_prepend() {
  eval "_kgnpro_old=\"\${$1:-}\""
  case ":$_kgnpro_old:" in
    *":$2:"*) ;;
    *) export "$1=$2${_kgnpro_old:+:$_kgnpro_old}" ;;
  esac
}

_kgnpro_python="$("$_kgnpro_venv/bin/python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"
export VIRTUAL_ENV="$_kgnpro_venv"
_kgnpro_prepend PATH "$_kgnpro_venv/bin"

_kgnpro_site="$_kgnpro_venv/lib/$_kgnpro_python/site-packages"
if [ -d "$_kgnpro_site/ros_wheels_bootstrapper" ]; then
  # The wheels are a ROS prefix of their own; their shared libraries lie in ros_*.libs.
  _kgnpro_prepend AMENT_PREFIX_PATH "$_kgnpro_venv"
  _kgnpro_prepend CMAKE_PREFIX_PATH "$_kgnpro_venv"
  for _kgnpro_dir in "$_kgnpro_site"/ros_*.libs; do
    _kgnpro_prepend LD_LIBRARY_PATH "$_kgnpro_dir"
  done
  _kgnpro_prepend LD_LIBRARY_PATH "$_kgnpro_venv/lib"
  # LD_LIBRARY_PATH is complete: spares every Python start a re-execution.
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
fi

_kgnpro_prepend AMENT_PREFIX_PATH "$_kgnpro_install"
_kgnpro_prepend CMAKE_PREFIX_PATH "$_kgnpro_install"
_kgnpro_prepend LD_LIBRARY_PATH "$_kgnpro_install/lib"
_kgnpro_prepend PYTHONPATH "$_kgnpro_install/lib/$_kgnpro_python/site-packages"

# Nothing leaves this machine unless the user asks for it.
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
export MUJOCO_GL="${MUJOCO_GL:-egl}"

unset _kgnpro_root _kgnpro_venv _kgnpro_install _kgnpro_python _kgnpro_site _kgnpro_dir _kgnpro_old
unset -f _kgnpro_prepend
