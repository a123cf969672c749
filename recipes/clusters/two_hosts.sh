#!/usr/bin/env bash
# Training on two hosts with torchrun. Run it on each of them, at about the same time, with the same arguments:
#
#   HEAD=10.0.0.1 recipes/clusters/two_hosts.sh runs/book book.txt --preset cpu-12m --steps 2000 --mesh replicate=2,dp=2
#
# HEAD is the address of one of the two. RUN (the first argument) and the text are on a disk that both see. A rank that fails is
# started again with all others, up to RESTARTS times, and goes on from the newest checkpoint.
set -euo pipefail
run=$1
shift
# The address of this host that the others reach; torchrun would take the host's name, which may not resolve there.
here=$(ip -o route get "$HEAD" | sed -n 's/.* src \([^ ]*\).*/\1/p')
is_head=0
[[ $here == "$HEAD" ]] && is_head=1
exec torchrun --nnodes "${HOSTS:-2}" --nproc-per-node "${RANKS:-2}" --max-restarts "${RESTARTS:-3}" \
  --rdzv-backend c10d --rdzv-endpoint "$HEAD:${PORT:-29500}" --rdzv-conf "is_host=$is_head" --rdzv-id "$(basename "$run")" \
  --local-addr "$here" \
  -m pellucid train "$@" --out "$run" --resume
