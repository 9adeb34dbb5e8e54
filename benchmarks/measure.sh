#!/bin/bash
# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
# All figures of a model card by one command: test scenes, evaluation of both formats, real frames,
# gallery, card. Usage: bash benchmarks/measure.sh MODEL WORK [FRAMES]
#   MODEL   name of a model in models/; WORK: folder for data and reports; FRAMES: real frames.
# DATA names a folder that test_single and test_multi are in already (default: WORK), REAL_SHEET
# where the sheet of real frames goes (default: WORK, as it shows other people's pictures).
set -euo pipefail
model=$1 work=$2 frames=${3:-}
data=${DATA:-$work}
root=$(cd "$(dirname "$0")/.." && pwd)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p "$work"

prepare() { # mode: scenes of a seed that is never trained on, in both formats
  if [ ! -e "$data/test_$1/manifest.json" ]; then
    kgnpro generate --mode "$1" --scenes 50 --views 5 --seed 9001 --out "$data/test_$1"
  fi
  kgnpro convert --data "$data/test_$1" --out "$work/kgn_$1" --test-share 1
}

judge() { # report, data: evaluates
  kgnpro evaluate --model "$model" --data "$2" --json "$work/$1.json" --curve "$work/$1.png" \
    --predictions "$work/predictions_$1" > "$work/$1.log"
}

for mode in single multi; do prepare "$mode"; done
rm -rf "$work"/predictions_*
for job in "single $data/test_single" "multi $data/test_multi" \
  "single-kgn $work/kgn_single" "multi-kgn $work/kgn_multi"; do
  read -r name folder <<< "$job"
  judge "$name" "$folder" &
  while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n; done
done
for job in $(jobs -p); do wait "$job"; done

images=$root/docs/images
real=()
if [ -n "$frames" ]; then
  rm -rf "$work/real"
  kgnpro detect --model "$model" --frames "$frames" --out "$work/real"
  real=(--real "$frames" "$work/real")
fi
python "$root/benchmarks/gallery.py" --out "$images" --section "$work/section.md" \
  --synthetic single "$data/test_single" "$work/predictions_single" \
  --synthetic multi "$data/test_multi" "$work/predictions_multi" "${real[@]}" > /dev/null
if [ -n "$frames" ]; then mv "$images/gallery_real.jpg" "${REAL_SHEET:-$work}/"; fi
cp "$work/single.png" "$images/curve_single.png"
cp "$work/multi.png" "$images/curve_multi.png"
kgnpro card "$model" --gallery "$images/gallery.json" \
  --report single="$work/single.json" --report multi="$work/multi.json" \
  --report single-kgn="$work/single-kgn.json" --report multi-kgn="$work/multi-kgn.json"
