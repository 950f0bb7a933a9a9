#!/usr/bin/env bash
# Fuzzes every target with libFuzzer: fuzz.sh SECONDS_EACH. New inputs go to build/fuzz/corpus; a crash stops with its file.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
# ccache keeps objects of both compilers apart by itself.
scripts/build.sh fuzz fuzz_targets
for target in build/fuzz/tests/*_fuzz; do
  name=$(basename "$target" _fuzz)
  found=build/fuzz/corpus/$name
  mkdir -p "$found"
  echo "== $name, $seconds s"
  "$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$name-" "$found" "tests/fuzz/corpus/$name" 2>&1 | tail -n 12
done
