# CRCD (arXiv 2103.16367): the teacher's relations to anchors. An online ResNet-50;
# the paper's is frozen: --teacher_mode frozen --teacher_checkpoint FILE
# Usage: bash crcd.sh DATA STUDENT CROP_SIZE [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method crcd --name crcd "${SHARED[@]}" "${MOMENTUM[@]}" "$@"
