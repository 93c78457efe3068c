#!/bin/bash
# A sweep as one Slurm job: Ray on every node of the job, the sweep's driver on the first, nothing left when it ends.
#
# Run from the root of the repository, which every node must see; what follows this file's name goes to the sweep.
# Options of sbatch before the file override the lines below; add a partition or an account if your site needs them.
#   sbatch cluster/slurm.sh sweeps/encoders.py --data /shared/kaggle_3m --storage /shared/runs
#   sbatch --nodes=4 --gpus-per-node=2 --cpus-per-task=16 cluster/slurm.sh sweeps/encoders.py ...
#   scancel --batch --signal=TERM JOB    end after the running epochs; plain scancel ends at once, and loses an epoch
# docs/slurm.md explains the rest.
#
#SBATCH --job-name=brainseg
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --mem=32G
#SBATCH --time=12:00:00
# Five minutes before the time limit the sweep stops after its running epochs, and the job is queued again. If your
# epochs are longer than that, raise 300.
#SBATCH --signal=B:USR1@300
#SBATCH --requeue

# Not `ray symmetric-run`: it starts nothing where any Ray runs already, its `ray stop` ends every Ray of yours on the
# node, other jobs' included, and it exits with status 0 if Ray fails to start (Ray 2.60).
set -euo pipefail
if (($# == 0)); then
    echo "name a sweep: sbatch cluster/slurm.sh sweeps/encoders.py --data FOLDER --storage FOLDER" >&2
    exit 2
fi
export PATH="$PWD/.venv/bin:$PATH" # or `module load` and `source` what holds your Python
unset OMP_NUM_THREADS              # Ray gives each trial the threads of the CPUs it holds
export NO_ALBUMENTATIONS_UPDATE=1

# The address by which the other nodes reach this one. HEAD=10.0.0.7 sbatch ... chooses another network of the first node.
head=${HEAD:-$(getent ahostsv4 "$SLURMD_NODENAME" | awk '{print $1; exit}' || true)}
if [[ -z $head ]] || { ((SLURM_JOB_NUM_NODES > 1)) && [[ $head == 127.* ]]; }; then
    echo "the first node needs an address that others reach, got '$head'; set one: HEAD=10.0.0.7 sbatch ..." >&2
    exit 2
fi
# Ports of the job's own, so that two jobs may share a node: four from here, between 20000 and 29999, above those that
# Ray's workers take by default and below those that systems hand out.
port=$((20000 + SLURM_JOB_ID % 2000 * 5))
export RAY_ADDRESS=$head:$port
# A token of this job's own, in no file: nodes are shared, and Ray would run anybody's code as you.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # else a node takes 30 s to end, and Slurm kills it after 30
# On each node's own disk, private, and short: the path of a socket ends at 107 characters, Ray adds 62 of them.
scratch=/tmp/brainseg-$SLURM_JOB_ID
export BRAINSEG_CACHE=${SLURM_TMPDIR:-$scratch}/cache

# What each node runs. Ray cannot see Slurm's memory limit, so --memory states it; 1 GB is enough for what a sweep passes between processes.
on_each_node() {
    rm -rf "$scratch" # left by an earlier run of this job that was killed
    mkdir -m 700 "$scratch" || exit 1
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 0' TERM # Ray gets the signal too, and ends first
    local role=(--address="$RAY_ADDRESS")
    if ((SLURM_NODEID == 0)); then
        role=(--head --node-ip-address="$head" --port="$port" --dashboard-host=127.0.0.1
            --ray-client-server-port=$((port + 1)))
    else
        until (: <"/dev/tcp/$head/$port") 2>/dev/null; do sleep 1; done
    fi
    TMPDIR=$scratch ray start "${role[@]}" --block --disable-usage-stats --temp-dir="$scratch/ray" \
        --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
        --object-store-memory=1000000000 --min-worker-port=0 --max-worker-port=0 \
        --dashboard-agent-listen-port=$((port + 2)) --runtime-env-agent-port=$((port + 3)) \
        ${SLURM_MEM_PER_NODE:+--memory="$((SLURM_MEM_PER_NODE * 800000))"} &>"$scratch/ray.log" ||
        { tail -n 20 "$scratch/ray.log" >&2; exit 1; }
}
export -f on_each_node
export head port scratch
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    --kill-on-bad-exit=0 bash -c on_each_node &
nodes=$!

for ((second = 0; second < 120; second++)); do
    (: <"/dev/tcp/$head/$port") 2>/dev/null && break
    kill -0 "$nodes" 2>/dev/null || break
    sleep 1
done
# Wait for all nodes, at most a minute: later ones are used too, but how CPUs are shared among trials is decided now.
look='
import sys, time, ray
ray.init(log_to_driver=False, logging_level="ERROR")
end = time.monotonic() + 60
while len(ray.nodes()) < int(sys.argv[1]) and time.monotonic() < end:
    time.sleep(1)
print(f"{len(ray.nodes())} of {sys.argv[1]} nodes are there")
'
if ! TMPDIR=$scratch python -c "$look" "$SLURM_JOB_NUM_NODES"; then
    echo "Ray did not start on the first node; its log is above" >&2
    exit 1
fi

TMPDIR=$scratch python "$@" &
sweep=$!
again=no
trap 'again=yes; kill -TERM "$sweep"' USR1
trap 'again=no; kill -TERM "$sweep"' TERM # scancel: do not queue it again
status=0
wait "$sweep" || status=$?
while kill -0 "$sweep" 2>/dev/null; do # a signal ends `wait`, not the sweep
    status=0
    wait "$sweep" || status=$?
done

if [[ $again == yes ]]; then
    echo "the time limit is near; the job is queued again and will resume the sweep"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status" # Slurm ends what still runs: first with TERM, so that each node removes its scratch
