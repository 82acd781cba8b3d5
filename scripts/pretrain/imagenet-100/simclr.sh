# SimCLR, the host's own: the student without a teacher or queue (arXiv 2002.05709).
# Usage: bash simclr.sh DATA STUDENT [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
solo-rekd pretrain --method simclr --name simclr "${SHARED[@]}" "${HEAD[@]}" "$@"
