# Linear and kNN evaluation of any method's checkpoint, the backbone frozen: MoCo's protocol
# (arXiv 1911.05722) with a learning rate of ours.
# Usage: bash linear.sh DATA STUDENT CROP_SIZE CHECKPOINT [LINEAR FLAGS ...]
set -euo pipefail
DATA=$1 STUDENT=$2 CROP_SIZE=$3 CHECKPOINT=$4
shift 4
SHARED=(
    --dataset custom --data_dir "$DATA" --train_dir train --val_dir val
    --encoder "$STUDENT" --crop_size "$CROP_SIZE" --pretrained_feature_extractor "$CHECKPOINT"
)
solo-rekd knn "${SHARED[@]}"
solo-rekd linear "${SHARED[@]}" --optimizer sgd --lr 0.1 --weight_decay 0 --batch_size 256 \
    --scheduler step --lr_decay_steps 60 80 --max_epochs 100 "$@"
