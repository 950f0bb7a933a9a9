#!/usr/bin/env bash
# The main job on real input: how often the words of a text occur (McIlroy, Communications of the ACM 29(6), 1986).
set -euo pipefail
sluice=$1
text=/usr/share/common-licenses/GPL-3
[[ -r $text ]] || text=LICENSE
pipeline="tr -cs A-Za-z '\n' | tr A-Z a-z | sort | uniq -c | sort -rn | head"
echo "\$ sluice run \"$pipeline\" < $text"
"$sluice" run "$pipeline" <"$text"

# The same over three nodes on this host, which are gone afterwards. Nothing of the user's own is read or changed.
scratch=$(mktemp -d)
export XDG_CONFIG_HOME=$scratch/config XDG_STATE_HOME=$scratch/state TMPDIR=$scratch
unset SLUICE_NODE SLUICE_KEY SLUICE_DATA
"$sluice" dev --nodes 3 >"$scratch/dev" 2>&1 &
dev=$!
trap 'kill -TERM $dev 2>/dev/null || true; wait $dev 2>/dev/null || true; rm -rf "$scratch"' EXIT
for ((tries = 0; tries < 200; ++tries)); do
  [[ $("$sluice" nodes --json 2>/dev/null | wc -l) -ge 3 ]] && break
  kill -0 $dev 2>/dev/null || { cat "$scratch/dev" >&2; exit 1; }
  sleep 0.1
done
pipeline="@n1 tr -cs A-Za-z '\n' | @n2 tr A-Z a-z | sort | uniq -c | @n3 sort -rn | head"
echo
"$sluice" nodes
echo "\$ sluice run \"$pipeline\" < $text"
"$sluice" run "$pipeline" <"$text"
