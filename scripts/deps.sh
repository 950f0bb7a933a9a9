#!/usr/bin/env bash
# Installs what is missing of the Debian packages that the named purposes need: deps.sh PURPOSE...
# Purposes: build test fuzz bench lint. docs/DEPENDENCIES.md says what each package is for.
set -euo pipefail

declare -A packages=(
  [build]="g++ cmake ninja-build libboost1.81-dev libcli11-dev libfmt-dev libprotobuf-dev libspdlog-dev libssl-dev
           libxxhash-dev libyaml-dev nlohmann-json3-dev protobuf-compiler"
  [test]="ccache libgtest-dev libgmock-dev python3 python3-pytest python3-pexpect python3-pytest-xdist
          bash dash less fzf zsh fish util-linux procps curl iproute2 nftables openssl
          make nodejs libsqlite3-dev pkg-config"
  [fuzz]="clang-19 libclang-rt-19-dev"
  [bench]="bash dash nodejs libgtest-dev libzmq3-dev mbuffer netcat-openbsd openssh-client openssh-server openssl nats-server parallel procps python3
          redis-server serf socat"
  [lint]="clang-tidy-19 clang-format git"
)

wanted=()
for purpose in "$@"; do
  [[ -n ${packages[$purpose]:-} ]] || { echo "deps.sh: no purpose '$purpose'; one of: ${!packages[*]}" >&2; exit 2; }
  read -r -d '' -a names <<<"${packages[$purpose]}" || true
  wanted+=("${names[@]}")
done

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

missing=()
if command -v dpkg-query >/dev/null; then
  for name in "${wanted[@]}"; do is_installed "$name" || missing+=("$name"); done
else
  missing=("${wanted[@]}")
fi
[[ ${#missing[@]} -gt 0 ]] || exit 0

line="apt-get install --yes --no-install-recommends ${missing[*]}"
release=$(. /etc/os-release 2>/dev/null && echo "${ID:-}-${VERSION_ID:-}")
if [[ $release != debian-12 ]]; then
  echo "deps.sh: this is not Debian 12 but '$release', and these packages are missing. On Debian 12 type:" >&2
  echo "  sudo $line" >&2
  exit 1
fi

as_root=()
if [[ $(id -u) != 0 ]]; then
  # Only a sudo that asks nothing, or a terminal where it can ask, is of use.
  if command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
  else
    echo "deps.sh: packages are missing, and this is neither root nor is there a usable sudo. Type:" >&2
    echo "  sudo $line" >&2
    exit 1
  fi
fi

echo "installing: ${missing[*]}" >&2
install() { DEBIAN_FRONTEND=noninteractive "${as_root[@]}" $line >"$log" 2>&1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists may be missing or old: they are fetched only if the first try fails.
install || { "${as_root[@]}" apt-get update >>"$log" 2>&1 && install; } || { cat "$log" >&2; exit 1; }
