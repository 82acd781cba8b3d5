# What every method of a comparison shares on CIFAR: data, student, augmentation, optimiser, epochs.
# The values are the host's for MoCo v2+ (arXiv 2003.04297) there, without a blur, which 32 px do
# not bear (arXiv 2002.05709 leaves it out too); its run of 1000 epochs is cut to 200.
# Usage: bash METHOD.sh DATA STUDENT [FLAGS ...]; torchvision downloads into the folder DATA.
# Flags given last win: --dataset cifar100.
set -euo pipefail
DATA=$1 STUDENT=$2
shift 2
SHARED=(
    --dataset cifar10 --data_dir "$DATA" --train_dir . --val_dir .
    --encoder "$STUDENT" --crop_size 32 --num_crops_per_aug 2
    --brightness 0.4 --contrast 0.4 --saturation 0.4 --hue 0.1
    --min_scale 0.08 --gaussian_prob 0.0
    --optimizer sgd --lr 0.3 --classifier_lr 0.3 --weight_decay 1e-4 --batch_size 256
    --scheduler warmup_cosine --warmup_epochs 10 --warmup_start_lr 0.003 --max_epochs 200
    --save_checkpoint --knn_eval
)
MOMENTUM=(--base_tau_momentum 0.99 --final_tau_momentum 0.999)
HEAD=(--proj_hidden_dim 2048 --proj_output_dim 128 --temperature 0.2) # rekd's defaults too
