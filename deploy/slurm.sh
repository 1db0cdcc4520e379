#!/usr/bin/env bash
#SBATCH --job-name=rllib-metarl
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
#
# One Ray node on every machine of a Slurm allocation, and one experiment on all of them.
#
#   sbatch deploy/slurm.sh tuned_examples/dynamite/gridworld.yaml --storage-path /shared/results
#
# A minute before the time limit, and when preempted, the run writes a checkpoint and the job is requeued to resume from
# it.
#
# Submitted from the repository, whose .venv (made by `make setup`) all machines must see.
set -euo pipefail

: "${1:?name an experiment file, and further options of rllib train after it}"
source .venv/bin/activate

# Anyone who knows the token may join; it is made for this job alone.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1

mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${machines[0]}
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))

on() { # machine, then options of ray start
    local machine=$1
    shift
    srun --nodes=1 --ntasks=1 --overlap -w "$machine" \
        ray start "$@" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
}

on "$head" --head --node-ip-address="$address" --port="$port" --include-dashboard=false
for _ in $(seq 60); do
    ray health-check --address "$address:$port" >/dev/null 2>&1 && break
    sleep 2
done
for machine in "${machines[@]:1}"; do
    on "$machine" --address="$address:$port"
done

# A requeued job resumes where it stopped.
rllib train file "$@" --ray-address "$address:$port" --resume-if-any &
training=$!
trap 'kill -TERM $training' TERM
code=0
while kill -0 $training 2>/dev/null; do
    code=0
    wait $training || code=$? # a trapped signal ends `wait`, too
done
if [[ $code -eq 143 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
