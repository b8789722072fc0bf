#!/bin/bash
# A training on several nodes of SLURM, which survives what happens to them:
#
#   sbatch docs/clusters/slurm.sh coco/fiber_swin-b_16xb2-24e_coco work_dirs/coco
#
# Further arguments are those of `fiber train` (--cfg-options …). Adapt the lines of #SBATCH. The
# work directory, the data and the environment (.venv) are on a file system that all nodes share.
#SBATCH --job-name=fiber
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
set -u
config=$1 work_dir=$2
shift 2
if [ -f .venv/bin/activate ]; then
    source .venv/bin/activate
fi

# 180 s before the time limit, and at `scancel --batch --signal=USR1 JOB`, the training writes a
# checkpoint and ends, and the same job is queued again. A preempted job is queued again by SLURM.
again= step=
trap 'again=yes; [ -z "$step" ] || kill -TERM "$step"' USR1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=150 # seconds for the last iteration and the checkpoint
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # or restarted processes look for dead ones
export OMP_NUM_THREADS=1

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 torchrun \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node=gpu --max-restarts=3 \
    --rdzv-backend=c10d --rdzv-endpoint="$first:29500" \
    --rdzv-id="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" \
    -m fiber_command train "$config" --launcher pytorch --work-dir "$work_dir" --resume "$@" &
step=$!
wait "$step"
code=$?
if [ -n "$again" ]; then
    wait "$step" # the first one ended with the signal
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$code"
