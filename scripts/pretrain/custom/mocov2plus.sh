# MoCo v2+, the host's own: the student without a teacher.
# Usage: bash mocov2plus.sh DATA STUDENT CROP_SIZE [FLAGS ...]
source "$(dirname "$0")/shared.sh"
solo-rekd pretrain --method mocov2plus --name mocov2plus "${SHARED[@]}" \
    --base_tau_momentum 0.99 --final_tau_momentum 0.999 --queue_size 65536 --temperature 0.2 "$@"
