#!/usr/bin/env bash
# Checks the layout of every source file and runs clang-tidy over the sources of the dev tree.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files '*.cc' '*.h' | xargs clang-format --dry-run --Werror
cmake --preset dev >/dev/null
git ls-files 'src/*.cc' | grep -v '_test.cc$' | xargs -P "$(nproc)" -n 4 clang-tidy-19 --quiet --extra-arg=-Wno-unknown-warning-option -p build/dev
