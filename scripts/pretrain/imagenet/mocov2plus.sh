# MoCo v2+, the host's own: the student without a teacher (arXiv 2003.04297).
# Usage: bash mocov2plus.sh DATA STUDENT [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method mocov2plus --name mocov2plus "${SHARED[@]}" "${MOMENTUM[@]}" \
    "${HEAD[@]}" --queue_size 65536 "$@"
