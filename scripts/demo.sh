#!/usr/bin/env bash
# The main job on real input: how often the words of a text occur (McIlroy, Communications of the ACM 29(6), 1986).
set -euo pipefail
sluice=$1
text=/usr/share/common-licenses/GPL-3
[[ -r $text ]] || text=LICENSE
pipeline="tr -cs A-Za-z '\n' | tr A-Z a-z | sort | uniq -c | sort -rn | head"
echo "\$ sluice run \"$pipeline\" < $text"
exec "$sluice" run "$pipeline" <"$text"
