# CompRess (arXiv 2010.14713): the teacher's similarities, without heads. An online ResNet-50;
# the paper's is frozen: --teacher_mode frozen --teacher_checkpoint FILE
# Its own schedule divides by 5, the hosts' by 10:
# --lr 0.01 --scheduler step --lr_decay_steps 90 120 --max_epochs 130
# Usage: bash compress.sh DATA STUDENT [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method compress --name compress "${SHARED[@]}" "${MOMENTUM[@]}" "$@"
