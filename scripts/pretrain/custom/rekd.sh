# ReKD (arXiv 2112.04174) with an online ResNet-50; --teacher NAME for another.
# Usage: bash rekd.sh DATA STUDENT CROP_SIZE [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method rekd --name rekd "${SHARED[@]}" "${MOMENTUM[@]}" "$@"
