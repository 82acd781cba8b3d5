# Linear and kNN evaluation of any method's checkpoint, the backbone frozen: MoCo's protocol
# (arXiv 1911.05722) with a learning rate of ours.
# Usage: bash linear.sh DATA STUDENT CHECKPOINT [LINEAR FLAGS ...]
set -euo pipefail
DATA=$1 STUDENT=$2 CHECKPOINT=$3
shift 3
SHARED=(
    --dataset cifar10 --data_dir "$DATA" --train_dir . --val_dir .
    --encoder "$STUDENT" --crop_size 32 --pretrained_feature_extractor "$CHECKPOINT"
)
solo-rekd knn "${SHARED[@]}"
solo-rekd linear "${SHARED[@]}" --optimizer sgd --lr 0.1 --weight_decay 0 --batch_size 256 \
    --scheduler step --lr_decay_steps 60 80 --max_epochs 100 "$@"
