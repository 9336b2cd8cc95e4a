#!/usr/bin/env bash
# Installs a scheduler to test with (Debian, Ubuntu; as root). Ends with 1 and a reason where that is not possible.
set -euo pipefail
packages=(slurmctld slurmd slurm-client munge)
say() { printf 'tests/slurm: %s\n' "$*" >&2; }

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || { say "no apt-get here, and without it ${missing[*]} cannot be installed"; exit 1; }
[ "$(id -u)" = 0 ] || { say "not root, so ${missing[*]} cannot be installed"; exit 1; }

# The packages would start daemons of their own, with a configuration that does not exist.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
log=$(mktemp)
timeout 180 apt-get update -qq >"$log" 2>&1 || true
export DEBIAN_FRONTEND=noninteractive
if ! timeout 300 apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}" \
    </dev/null >>"$log" 2>&1; then
  tail -n 5 "$log" >&2
  say "apt-get could not install ${missing[*]}"
  exit 1
fi
rm -f "$log"
