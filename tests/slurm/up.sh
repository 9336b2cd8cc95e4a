#!/usr/bin/env bash
# Starts a real SLURM on this machine: two nodes of two cores, `cpu1` in partition cpu and `gpu1` in partition gpu with one
# fake GPU, memory enforced. As root, without systemd.
#
#   up.sh FOLDER OWNER     configuration, state and logs lie in FOLDER; when process OWNER is gone, it is all taken down
#
# Two nodes, so that a GPU rule that does not name its partition is refused; each pretends to 32 GB.
set -euo pipefail
FOLDER=$1 OWNER=$2
HERE=$(cd "$(dirname "$0")" && pwd)
HOST=$(hostname -s)
ETC=$FOLDER/etc RUN=$FOLDER/run LOG=$FOLDER/log STATE=$FOLDER/state
say() { printf 'tests/slurm: %s\n' "$*" >&2; }

# Jobs lose every SLURM_* variable, SLURM_CONF too, so the configuration must be where SLURM looks by default.
for file in slurm.conf gres.conf cgroup.conf; do
  if [ -e /etc/slurm/$file ]; then
    say "/etc/slurm/$file exists: this machine has a SLURM of its own, which stays as it is"
    exit 1
  fi
done
trap 'say "up.sh failed at line $LINENO"; tail -n 8 "$LOG"/*.log >&2' ERR
mkdir -p "$ETC" "$RUN" "$LOG" "$STATE/ctld" "$STATE/cpu1" "$STATE/gpu1"
setsid "$HERE/watch.sh" "$FOLDER" "$OWNER" </dev/null >"$LOG/watch.log" 2>&1 &
getent hosts "$HOST" >/dev/null || echo "127.0.0.1 $HOST" >> /etc/hosts

mknod "$STATE/gpu0" c 1 3   # slurmd wants a device file; this one is another /dev/null
echo "NodeName=gpu1 Name=gpu Type=fake File=$STATE/gpu0 AutoDetect=off" > "$ETC/gres.conf"

# With a version 1 memory cgroup the kernel kills, as on a real cluster; without one SLURM polls and kills.
printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' > "$ETC/cgroup.conf"
enforcement="ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherParams=OverMemoryKill"
if grep -qE '^[^ ]+ /sys/fs/cgroup/memory cgroup rw.*memory' /proc/mounts \
   && grep -qE '^[^ ]+ /sys/fs/cgroup/freezer cgroup rw.*freezer' /proc/mounts \
   && mkdir "/sys/fs/cgroup/memory/slurm_probe$$" 2>/dev/null; then
  rmdir "/sys/fs/cgroup/memory/slurm_probe$$"
  printf 'ConstrainRAMSpace=yes\n' >> "$ETC/cgroup.conf"
  enforcement="ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup"
fi

cat > "$ETC/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$RUN/munge.socket
CredType=cred/munge
SlurmctldPort=16817
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd.%n.pid
SlurmctldLogFile=$LOG/slurmctld.log
SlurmdLogFile=$LOG/slurmd.%n.log
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/%n
MailProg=/bin/true
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
$enforcement
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
EnforcePartLimits=ALL
DefMemPerCPU=500
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0
KillWait=2
UnkillableStepTimeout=10
SlurmctldTimeout=30
SlurmdTimeout=30
ReturnToService=2
InactiveLimit=0
OverTimeLimit=0
JobRequeue=0
MinJobAge=3600
AccountingStorageType=accounting_storage/none
NodeName=cpu1 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=16818 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=32000 State=UNKNOWN
NodeName=gpu1 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=16820 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=32000 Gres=gpu:fake:1 State=UNKNOWN
PartitionName=cpu Nodes=cpu1 Default=YES DefaultTime=01:00:00 MaxTime=1-00:00:00 State=UP
PartitionName=gpu Nodes=gpu1 Default=NO DefaultTime=01:00:00 MaxTime=1-00:00:00 State=UP
CONF
mkdir -p /etc/slurm
for file in slurm.conf gres.conf cgroup.conf; do ln -sfn "$ETC/$file" /etc/slurm/$file; done

wait_for() {  # wait_for SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  while ! "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $end ]; then
      say "gave up waiting for $what"
      return 1
    fi
    sleep 0.1
  done
}
start() { setsid "$@" </dev/null >>"$LOG/daemons.log" 2>&1; }
authenticates() { munge --socket="$RUN/munge.socket" -n | unmunge --socket="$RUN/munge.socket"; }
idle() { [ "$(sinfo -h -N -o %T | sort -u)" = idle ]; }

install -d -m 700 "$STATE/munge"
(umask 077 && dd if=/dev/urandom of="$STATE/munge/key" bs=128 count=1 status=none)
start munged --socket="$RUN/munge.socket" --pid-file="$RUN/munged.pid" --key-file="$STATE/munge/key" \
  --log-file="$LOG/munged.log" --seed-file="$STATE/munge/seed"
wait_for 10 munged authenticates
start slurmctld -c
wait_for 20 slurmctld scontrol ping
start slurmd -N cpu1
start slurmd -N gpu1
wait_for 30 "both nodes to be idle" idle
