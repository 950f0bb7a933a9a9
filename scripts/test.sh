#!/usr/bin/env bash
# Builds the three trees and runs every test: the release binary end to end, the libraries under sanitizers.
# SLUICE_SOAK=1 runs ten times as many random cases and kills. The last line counts all of them.
set -uo pipefail
cd "$(dirname "$0")/.."

scale=1
[[ -z ${SLUICE_SOAK:-} ]] || scale=10
export SLUICE_BINARY=$PWD/build/release/sluice
export SLUICE_PROPERTY_CASES=$((200 * scale))
passed=0 failed=0 skipped=0

count() { # count PASSED FAILED SKIPPED
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# Adds up the counts of a JUnit file (pytest and ctest both write one).
count_junit() {
  local counts
  counts=$(/usr/bin/python3 - "$1" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree
cases = list(tree.parse(sys.argv[1]).getroot().iter("testcase"))
skipped = sum(case.find("skipped") is not None or case.get("status") in ("notrun", "disabled") for case in cases)
failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
print(len(cases) - failed - skipped, failed, skipped)
PYTHON
  ) || counts="0 1 0"
  count $counts
}

section() { printf '\n== %s\n' "$*"; }

build() {
  section "build $1"
  scripts/build.sh "$@" && return 0
  count 0 1 0
  return 1
}

run_ctest() { # run_ctest PRESET[/FOLDER] ARGUMENT...
  local tree=$1 report
  shift
  section "ctest $tree $*"
  report=$PWD/build/$tree/junit.xml
  rm -f "$report"
  ctest --test-dir "build/$tree" --output-on-failure --no-tests=error --output-junit "$report" -j "$(nproc)" "$@" |
    grep -vE '^ +Start |Passed +[0-9.]+ sec$'
  count_junit "$report"
}

run_pytest() {
  local report=$PWD/build/release/junit.xml
  section "pytest"
  rm -f "$report"
  /usr/bin/python3 -m pytest -p no:cacheprovider -q -rs -n "$(nproc)" --junit-xml "$report" tests
  count_junit "$report"
}

if SLUICE_TESTS=ON build release; then
  run_pytest
  run_ctest release
fi
# Where memory is handled by hand, under address and undefined-behaviour sanitizer; the release tree has run all of it.
# Not `node`: its fifty files take longer to compile than all of these, and end-to-end tests drive what is in them.
# Without MembershipScale: a thousand nodes touch no other code than ten, and take four times as long under a sanitizer.
folders="src/base src/net src/link src/exec src/cluster src/flow src/rpc src/api sim"
build asan $(for folder in $folders; do echo "${folder##*/}_test"; done) &&
  for folder in $folders; do run_ctest asan/$folder -E '^MembershipScale'; done
# Where there are threads: the log, and the loops of the data plane. All else belongs to one loop.
build tsan base_test link_test && for folder in base link; do run_ctest tsan/src/$folder; done

section "result"
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 && $passed -gt 0 ]]
