#!/bin/bash
# Train on several machines without a scheduler: the same line on each, with its own number.
#
#   NODES=64 NODE=0 MASTER=node-0 fullscale/launch/torchrun.sh \
#       --config fullscale/recipes/resnet50_lars_32k.yaml --data.root /path/to/imagenet
#
# Variables: NODES (1), NODE (0 ... NODES - 1), MASTER (a name or address of node 0), PORT (29500),
# DEVICES (8, processes per node), CHECKPOINTS (a folder; node 0 alone needs it). The same line again
# goes on from the newest checkpoint. SIGTERM to torchrun reaches the tasks: they save after the step
# and end; torchrun kills what is left after 30 s, and does not survive SIGUSR1.

set -euo pipefail

NODES="${NODES:-1}"
DEVICES="${DEVICES:-8}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

exec torchrun --nnodes "$NODES" --nproc-per-node "$DEVICES" --node-rank "${NODE:-0}" \
    --master-addr "${MASTER:-localhost}" --master-port "${PORT:-29500}" \
    -m fullscale.fit "$@" \
    --trainer.num_nodes "$NODES" \
    --trainer.devices "$DEVICES" \
    --checkpoint.folder "${CHECKPOINTS:-runs/checkpoints/torchrun}"
