# BINGO (arXiv 2107.01691): bags of similar images, found by a frozen ResNet-50.
# Usage: bash bingo.sh DATA STUDENT --teacher_checkpoint FILE [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method bingo --name bingo "${SHARED[@]}" "${MOMENTUM[@]}" \
    --teacher_mode frozen "$@"
