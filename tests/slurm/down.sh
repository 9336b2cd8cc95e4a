#!/usr/bin/env bash
# Stops what up.sh started in FOLDER, by its pid files only, and removes FOLDER and the links in /etc/slurm.
set -uo pipefail
FOLDER=$1
RUN=$FOLDER/run
[ -d "$FOLDER" ] || exit 0

stop() {  # stop PIDFILE NAME SECONDS
  [ -s "$1" ] || return 0
  local pid end=$((SECONDS + $3))
  pid=$(cat "$1")
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$2"* ]] || return 0
  kill "$pid"
  while [ -e "/proc/$pid" ]; do
    [ $SECONDS -lt $end ] || { kill -9 "$pid"; return 0; }
    sleep 0.1
  done
}

# running jobs outlive slurmd, so they are cancelled while the controller can
if [ -s "$RUN/slurmctld.pid" ] && timeout 5 scontrol ping 2>/dev/null | grep -q UP; then
  squeue -h -o %A | sort -u | xargs -r scancel
  for _ in $(seq 100); do [ -z "$(squeue -h -o %A)" ] && break; sleep 0.1; done
fi
for file in "$RUN"/slurmd.*.pid; do stop "$file" slurmd 10; done
stop "$RUN/slurmctld.pid" slurmctld 15
stop "$RUN/munged.pid" munged 5
for group in /sys/fs/cgroup/*/slurm_cpu1 /sys/fs/cgroup/*/slurm_gpu1; do
  [ -d "$group" ] && find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
done
for file in slurm.conf gres.conf cgroup.conf; do
  [[ $(readlink "/etc/slurm/$file") == "$FOLDER"/* ]] && rm -f "/etc/slurm/$file"
done
rm -rf "${FOLDER:?}"
