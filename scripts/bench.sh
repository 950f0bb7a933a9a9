#!/usr/bin/env bash
# Builds the release binary and the bench programs, and prints the speed table with what it was measured on.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh release sluice
SLUICE_BENCH=ON scripts/build.sh release local_pipelines_bench calls_bench record_links_bench membership_report

echo "sluice $(build/release/sluice version | cut -d' ' -f2), commit $(git describe --always --dirty 2>/dev/null || echo none), release build"
echo "$(nproc) cores of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), $(bash --version | head -n 1)"
build/release/bench/local_pipelines_bench "$PWD/build/release/sluice"
/usr/bin/python3 bench/cluster_bench.py build/release/sluice build/release/bench/calls_bench
build/release/bench/record_links_bench
/usr/bin/python3 bench/workers_bench.py build/release/sluice
/usr/bin/python3 bench/flow_control_bench.py build/release/sluice
printf '\nmembership, in the simulator\n\n'
build/release/sim/membership_report --large
