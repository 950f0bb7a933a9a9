#!/usr/bin/env bash
# Configures and builds one tree: build.sh PRESET [TARGET...]. With ccache, if it is there.
# SLUICE_TESTS=ON and SLUICE_BENCH=ON add those to the release tree; a user's build does without.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift

options=()
if command -v ccache >/dev/null; then
  options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  # A clone in another folder finds the same objects.
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
fi

[[ -z ${SLUICE_TESTS:-} ]] || options+=("-DSLUICE_TESTS=$SLUICE_TESTS")
[[ -z ${SLUICE_BENCH:-} ]] || options+=("-DSLUICE_BENCH=$SLUICE_BENCH")

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset "$preset" "${options[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
targets=()
[[ $# -eq 0 ]] || targets=(--target "$@")
cmake --build "build/$preset" "${targets[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
