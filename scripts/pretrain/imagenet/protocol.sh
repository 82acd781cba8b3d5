# What every method of a comparison shares on ImageNet: data, student, augmentation, optimiser,
# epochs. The values are MoCo v2's (arXiv 2003.04297), but for the warm-up, which is the host's.
# DALI on 8 GPUs.
# Usage: bash METHOD.sh DATA STUDENT [FLAGS ...], DATA holding train/ and val/; a student:
# mobilenet_v3_large (solo-rekd list has more). Flags given last win.
set -euo pipefail
DATA=$1 STUDENT=$2
shift 2
SHARED=(
    --dataset imagenet --data_dir "$DATA" --train_dir train --val_dir val --dali
    --encoder "$STUDENT" --crop_size 224 --num_crops_per_aug 2
    --brightness 0.4 --contrast 0.4 --saturation 0.4 --hue 0.1
    --min_scale 0.2 --gaussian_prob 0.5
    --optimizer sgd --lr 0.03 --classifier_lr 0.4 --weight_decay 1e-4 --batch_size 32
    --scheduler warmup_cosine --warmup_epochs 5 --warmup_start_lr 0.003 --max_epochs 200
    --gpus 0,1,2,3,4,5,6,7 --accelerator gpu --strategy ddp --sync_batchnorm --precision 16
    --save_checkpoint
)
MOMENTUM=(--base_tau_momentum 0.999 --final_tau_momentum 0.999)
HEAD=(--proj_hidden_dim 2048 --proj_output_dim 128 --temperature 0.2) # rekd's defaults too
