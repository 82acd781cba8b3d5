# DisCo (arXiv 2104.09124): MoCo v2, drawn to the teacher's embeddings. An online ResNet-50;
# the paper's is frozen: --teacher_mode frozen --teacher_checkpoint FILE
# Usage: bash disco.sh DATA STUDENT CROP_SIZE [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method disco --name disco "${SHARED[@]}" "${MOMENTUM[@]}" "$@"
