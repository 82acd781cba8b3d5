# What every method of a comparison shares: data, student, augmentation, optimiser, epochs.
# Usage: bash METHOD.sh DATA STUDENT CROP_SIZE [FLAGS ...], DATA holding train/ and val/.
# The values are MoCo v2's (arXiv 2003.04297); flags given last win.
set -euo pipefail
DATA=$1 STUDENT=$2 CROP_SIZE=$3
shift 3
SHARED=(
    --dataset custom --data_dir "$DATA" --train_dir train --val_dir val
    --encoder "$STUDENT" --crop_size "$CROP_SIZE" --num_crops_per_aug 2
    --brightness 0.4 --contrast 0.4 --saturation 0.4 --hue 0.1
    --optimizer sgd --lr 0.03 --weight_decay 1e-4 --batch_size 256
    --scheduler warmup_cosine --warmup_epochs 5 --max_epochs 200
    --save_checkpoint --knn_eval
)
