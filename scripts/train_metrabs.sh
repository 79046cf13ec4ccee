#!/bin/bash
# Train metrabs-m and metrabs-s in about ten minutes on a machine with one GPU and 16 cores.
#
#     OUT=out/training bash scripts/train_metrabs.sh
#
# No network is needed: the packs and TRPOSE_DATA/photographs must be there (docs/data.md), and
# movenet-lightning as a file or in TRPOSE_WEIGHTS (docs/training.md). A step that was cut off goes
# on where it was. Everything below may be set from outside.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-out/training}              # weights, cards and logs
WORK=${WORK:-$OUT/work}               # rendered people, cached crops, checkpoints: tens of GB
PYTHON=${PYTHON:-python}
CORES=${CORES:-$(nproc)}
LIGHTNING=${LIGHTNING:-movenet-lightning}
SIZES=${SIZES:-m s}

RENDER_S=${RENDER_S:-120}             # limits of the steps; rendering and caching keep what is done
CACHE_S=${CACHE_S:-180}
MINUTES_M=${MINUTES_M:-2}
MINUTES_S=${MINUTES_S:-1}
SHARDS=${SHARDS:-12}                  # rendered people: 2016 each
CROPS=${CROPS:-40960}
FREEZE=${FREEZE:-11}                  # modules of the backbone behind which is trained
BATCH=${BATCH:-144}                   # rendered people in a step; a third as many of photographs
RATE=${RATE:-6e-4}
WORKERS=${WORKERS:-4}
TEST_CROPS=${TEST_CROPS:-192}         # of each condition
FIT_CROPS=${FIT_CROPS:-1500}          # for the uncertainty

trap 'say "failed in line $LINENO; $OUT/logs says why"' ERR
mkdir -p "$OUT/logs" "$OUT/packed" "$WORK"
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
sprites=$WORK/sprites cache=$WORK/cache

say() { echo "$(date +%T) $*" | tee -a "$OUT/logs/session.log"; }
metrabs() { "$PYTHON" -m trpose_ros.training.run metrabs --sprites "$sprites" --threads 1 "$@"; }
# A step that reached its limit (124) goes on with what it has made; any other failure ends all.
limited() { timeout "$@" || { code=$?; [ $code = 124 ] && say "limit of $1 s reached"; }; }

say "start: $CORES cores, $("$PYTHON" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")')"
"$PYTHON" -c 'import sys
from trpose_ros.movenet.checkpoints import load_movenet
load_movenet(sys.argv[1])' "$LIGHTNING"

say "render $SHARDS shards"
{ echo test 0; for k in $(seq 0 $((SHARDS - 1))); do echo train "$k"; done; } |
    limited "$RENDER_S" xargs -P "$CORES" -L 1 "$PYTHON" -c 'import sys
from pathlib import Path
from trpose_ros.data.rendering.sprites import SpriteSource, write_shard
folder, split, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
if not (Path(folder) / split / f"{number:05d}.npz").exists():
    write_shard(folder, split, 0, number, SpriteSource(split))
    print("rendered", split, number, flush=True)' "$sprites" >> "$OUT/logs/render.log" 2>&1
shards=0  # in one piece from the first on
while [ -e "$sprites/train/$(printf %05d "$shards").npz" ]; do shards=$((shards + 1)); done
[ "$shards" -gt 0 ] && [ -e "$sprites/test/00000.npz" ] || { say 'too few people: raise RENDER_S'; exit 1; }

say "cache $CROPS crops of $shards shards"
export -f metrabs
export PYTHON sprites
seq 0 $((CORES - 1)) | limited "$CACHE_S" xargs -P "$CORES" -I{} bash -c 'metrabs "$@"' - \
    --make-cache "$CROPS" --cache-part "{}/$CORES" --cache-folder "$cache" --shards "$shards" \
    --data-2d photographs --freeze "$FREEZE" --backbone mobilenetv2-1.75 \
    --pretrained movenet-thunder --also "mobilenetv2-1.0=$LIGHTNING" >> "$OUT/logs/cache.log" 2>&1
cached=$(find "$cache" -name '*.npz' | wc -l)
[ "$cached" -gt 0 ] || { say 'no crops: raise CACHE_S'; exit 1; }
say "cached $((512 * cached)) crops"

for size in $SIZES; do
    [ "$size" = m ] && network='mobilenetv2-1.75 movenet-thunder' minutes=$MINUTES_M
    [ "$size" = s ] && network="mobilenetv2-1.0 $LIGHTNING" minutes=$MINUTES_S
    say "train metrabs-$size for $minutes minutes"
    metrabs --out "$OUT/metrabs-$size.safetensors" --folder "$WORK/metrabs-$size" \
        --backbone "${network% *}" --pretrained "${network#* }" --freeze "$FREEZE" \
        --cache true --cache-folder "$cache" --data-2d photographs --workers "$WORKERS" \
        --batch "$BATCH" --batch-2d $((BATCH / 3)) --learning-rate "$RATE" --clip 5 \
        --average 0.998 --minutes "$minutes" --steps 1000000 --warm-up 100 --log-every 25 \
        --checkpoint-minutes 1000 --tensorboard false --test-crops "$TEST_CROPS" \
        > "$OUT/logs/metrabs-$size.log" 2>&1
done

# Uncertainty, size, measures: in this order, so that the card speaks of the packed file.
finish() {
    local name=metrabs-$1
    "$PYTHON" -m trpose_ros.training.run uncertainty --model "$OUT/$name.safetensors" --threads 1 \
        --sprites "$sprites" --shards "$shards" --crops "$FIT_CROPS" --test-crops "$TEST_CROPS"
    "$PYTHON" -m trpose_ros weights pack "$OUT/$name.safetensors" "$OUT/packed/$name.safetensors"
    metrabs --measure "$OUT/packed/$name.safetensors" --record true --data-2d photographs \
        --test-crops "$TEST_CROPS"
}
say 'uncertainty, packing, measures'
started=()
for size in $SIZES; do
    finish "$size" > "$OUT/logs/finish-$size.log" 2>&1 &
    started+=($!)
done
for id in "${started[@]}"; do wait "$id"; done
say "done: $(cd "$OUT/packed" && du -h ./*.safetensors | tr '\n' ' ')"
