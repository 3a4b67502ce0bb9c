#!/usr/bin/env bash
# A sweep on the nodes of a Slurm job: Ray's head on the first, its workers on the others. See README.md.
#
#   sbatch docker/slurm.sh sweeps/mnist_table1.yaml --data ~/data
#
# Five minutes before the time is up Slurm sends a signal: running trials write a checkpoint, and the job is
# queued again, to go on from there. A node or job that is lost costs no more than the trials' last epochs.

#SBATCH --job-name=rdbench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=rdbench-%j.log

set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: sbatch docker/slurm.sh SWEEP.yaml [options of 'rdbench sweep']" >&2
    exit 2
fi

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))  # another job may have a Ray of its own on the same node
cpus=${SLURM_CPUS_PER_TASK:-1}
temporary=/tmp/ray-$SLURM_JOB_ID
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_worker_niceness=0 OMP_NUM_THREADS=1

started=()
# shellcheck disable=SC2329  # called by the trap
end() {
    for process in "${started[@]}"; do
        kill -TERM "$process" 2> /dev/null || true
    done
    wait
}
trap end EXIT

ray start --head --port="$port" --num-cpus="$cpus" --include-dashboard=false --disable-usage-stats \
    --temp-dir="$temporary" --block > /dev/null &
started+=($!)
for _ in $(seq 60); do
    ray status --address="$head:$port" > /dev/null 2>&1 && break
    sleep 2
done

if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    others=$((SLURM_JOB_NUM_NODES - 1))
    srun --nodes="$others" --ntasks="$others" --exclude="$head" \
        ray start --address="$head:$port" --num-cpus="$cpus" --disable-usage-stats --block > /dev/null &
    started+=($!)
fi

out_of_time= sweep=
trap 'out_of_time=yes; [ -z "$sweep" ] || kill -TERM "$sweep"' TERM
rdbench sweep "$@" --address "$head:$port" &
sweep=$!
[ -z "$out_of_time" ] || kill -TERM "$sweep"  # the signal came before there was anything to stop

code=0
while true; do
    wait "$sweep" && code=0 || code=$?
    kill -0 "$sweep" 2> /dev/null || break  # else the signal ended the waiting, and the sweep still stops
done
wait "$sweep" && code=0 || code=$?

if [ -n "$out_of_time" ] && [ "$code" -eq 130 ]; then  # 130: interrupted, so there is more to do
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
