# ReKD (arXiv 2112.04174) with an online ResNet-50; papers on small networks go up to
# ResNet-152 and ResNet-50x2: --teacher resnet152
# Usage: bash rekd.sh DATA STUDENT [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method rekd --name rekd "${SHARED[@]}" "${MOMENTUM[@]}" "$@"
