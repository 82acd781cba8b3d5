# What every method of a comparison shares on an image folder: data, student, augmentation,
# optimiser, epochs. The values are MoCo v2's (arXiv 2003.04297), but for the warm-up and the
# momentum, the host's.
# Usage: bash METHOD.sh DATA STUDENT CROP_SIZE [FLAGS ...], DATA holding train/ and val/.
# Flags given last win.
set -euo pipefail
DATA=$1 STUDENT=$2 CROP_SIZE=$3
shift 3
SHARED=(
    --dataset custom --data_dir "$DATA" --train_dir train --val_dir val
    --encoder "$STUDENT" --crop_size "$CROP_SIZE" --num_crops_per_aug 2
    --brightness 0.4 --contrast 0.4 --saturation 0.4 --hue 0.1
    --min_scale 0.2 --gaussian_prob 0.5
    --optimizer sgd --lr 0.03 --classifier_lr 0.1 --weight_decay 1e-4 --batch_size 256
    --scheduler warmup_cosine --warmup_epochs 5 --warmup_start_lr 0.003 --max_epochs 200
    --save_checkpoint --knn_eval
)
MOMENTUM=(--base_tau_momentum 0.99 --final_tau_momentum 0.999)
HEAD=(--proj_hidden_dim 2048 --proj_output_dim 128 --temperature 0.2) # rekd's defaults too
