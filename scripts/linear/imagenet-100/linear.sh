# Linear and kNN evaluation of any method's checkpoint, the backbone frozen: MoCo's protocol
# (arXiv 1911.05722) with the learning rate of the host's MoCo v2+ and of DisCo (arXiv 2104.09124).
# Usage: bash linear.sh DATA STUDENT CHECKPOINT [LINEAR FLAGS ...]
set -euo pipefail
DATA=$1 STUDENT=$2 CHECKPOINT=$3
shift 3
SHARED=(
    --dataset imagenet100 --data_dir "$DATA" --train_dir train --val_dir val
    --encoder "$STUDENT" --crop_size 224 --pretrained_feature_extractor "$CHECKPOINT"
)
solo-rekd knn "${SHARED[@]}"
solo-rekd linear "${SHARED[@]}" --optimizer sgd --lr 3.0 --weight_decay 0 --batch_size 256 \
    --scheduler step --lr_decay_steps 60 80 --max_epochs 100 \
    --dali --gpus 0 --accelerator gpu --precision 16 "$@"
