# CoSS (arXiv 2409.13939): the teacher's features, by image and by dimension, in batches of
# neighbours, which a frozen ResNet-50 finds.
# Usage: bash coss.sh DATA STUDENT --teacher_checkpoint FILE [FLAGS ...]
source "$(dirname "$0")/protocol.sh"
# DALI chooses the images of a batch itself, so the host loads these
for place in "${!SHARED[@]}"; do
    if [ "${SHARED[place]}" = --dali ]; then unset "SHARED[place]"; fi
done
solo-rekd pretrain --method coss --name coss "${SHARED[@]}" "${MOMENTUM[@]}" \
    --teacher_mode frozen "$@"
