# CompRess (arXiv 2010.14713): the teacher's similarities, without heads. An online ResNet-50;
# the paper's is frozen: --teacher_mode frozen --teacher_checkpoint FILE
# Usage: bash compress.sh DATA STUDENT [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method compress --name compress "${SHARED[@]}" "${MOMENTUM[@]}" \
    --queue_size 32768 "$@"
