# SEED (arXiv 2101.04731): the teacher's similarities to a queue. An online ResNet-50;
# the paper's is frozen: --teacher_mode frozen --teacher_checkpoint FILE
# Usage: bash seed.sh DATA STUDENT [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method seed --name seed "${SHARED[@]}" "${MOMENTUM[@]}" \
    --queue_size 32768 "$@"
