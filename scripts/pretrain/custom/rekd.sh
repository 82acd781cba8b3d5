# ReKD (arXiv 2112.04174) with an online ResNet-50; --teacher NAME for another.
# Usage: bash rekd.sh DATA STUDENT CROP_SIZE [FLAGS ...]
source "$(dirname "$0")/shared.sh"
solo-rekd pretrain --method rekd --name rekd "${SHARED[@]}" \
    --base_tau_momentum 0.99 --final_tau_momentum 0.999 --queue_size 65536 --temperature 0.2 --teacher resnet50 "$@"
