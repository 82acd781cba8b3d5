# SimCLR, the host's own: the student without a teacher or queue.
# Usage: bash simclr.sh DATA STUDENT CROP_SIZE [FLAGS ...]
source "$(dirname "$0")/shared.sh"
solo-rekd pretrain --method simclr --name simclr "${SHARED[@]}" \
    --proj_hidden_dim 2048 --proj_output_dim 128 --temperature 0.2 "$@"
