#!/bin/bash
#SBATCH --job-name=fluxbatch
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=08:00:00
#SBATCH --signal=INT@180
#SBATCH --requeue
#SBATCH --export=NONE
#
# A run on three nodes that share one ledger in PostgreSQL. See docs/guide/clusters.md.
#
#   sbatch slurm.sh              identical workers, one a node, started by srun
#   sbatch slurm.sh ray          the same placed by a Ray cluster that lives as long as the job
#
# --signal=INT@180: three minutes before the time is up each worker buys nothing more and leaves.
# --export=NONE: what the submitting shell has of keys and passwords stays out of Slurm's spool. Each
# node reads its own files instead, which their owner alone can read.
set -euo pipefail

: "${CONFIG:=$HOME/pictures/night.yaml}"      # the same path on every node
: "${DATASET:=postgresql://flux@db.example.com/pictures/NIGHTLY}"
export EACHLABS_API_KEY_FILE="${EACHLABS_API_KEY_FILE:-$HOME/.config/fluxbatch/keys}"
export PGPASSFILE="${PGPASSFILE:-$HOME/.pgpass}"

# A job that is requeued keeps its number: it goes on with its run, and spends no fresh cap.
run=(fluxbatch run "$CONFIG" --out "$DATASET" --run "slurm-$SLURM_JOB_ID" --yes)

# --export=ALL: of this script, which has the names of files and no secret.
# --kill-on-bad-exit=0: a worker that ends early ends no other one.
each=(srun --export=ALL --kill-on-bad-exit=0)

if [ "${1:-}" = ray ]; then
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    # The run's command is started on the first node, once all are there; Ray ends with it.
    exec "${each[@]}" ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
        -- "${run[@]}" --on ray --workers "$SLURM_JOB_NUM_NODES"
fi
exec "${each[@]}" "${run[@]}"
