# SimReg (arXiv 2201.05131): regression on the teacher's features by a deep head. An online ResNet-50;
# the paper's is frozen: --teacher_mode frozen --teacher_checkpoint FILE
# Usage: bash simreg.sh DATA STUDENT [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method simreg --name simreg "${SHARED[@]}" "${MOMENTUM[@]}" "$@"
