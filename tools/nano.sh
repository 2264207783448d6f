#!/usr/bin/env bash
# The whole recipe of the nano policy, from nothing: demonstrations, seeing, features, training, evaluation.
# Called by `make nano`. Everything lies under build/nano and is taken up again where a run was ended.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
work="${NANO_WORK:-$root/build/nano}"
demonstrations="${NANO_DEMONSTRATIONS:-170}"
minutes="${NANO_PRETRAIN_MINUTES:-75}"
jobs="$(nproc)"
mkdir -p "$work"
vla() { "$root/vla" "$@"; }

# Seeds: demonstrations from 100000 on, rendered scenes from 50000000 on, evaluation from 1000 on.
[ -e "$work/still/.done" ] || { vla sim --record "$((demonstrations / 2))" --headless --noise --seed 100000 --jobs "$jobs" --out "$work/still" && touch "$work/still/.done"; }
[ -e "$work/moving/.done" ] || { vla sim --record "$((demonstrations / 2))" --headless --noise --eye moving --seed 200000 --jobs "$jobs" --out "$work/moving" && touch "$work/moving/.done"; }
[ -e "$work/untrained" ] || vla checkpoint create --preset nano --out "$work/untrained" --seed 0
[ -e "$work/seeing.done" ] || { vla pretrain --checkpoint "$work/untrained" --scenes "$work/scenes" --out "$work/seeing" --sets 30000 --jobs 1 \
  --minutes "$minutes" --steps 100000 --batch 8 --learning-rate 1e-3 --threads "$jobs" && touch "$work/seeing.done"; }
vla cache --checkpoint "$work/seeing" --episodes "$work/still" "$work/moving" --out "$work/cache" --jobs "$jobs"
vla train --config "$root/src/vla_training/vla_training/train/configs/nano.yaml" "init=$work/seeing" "out=$work/run" "data.cache=$work/cache" \
  "data.episodes=[$work/still, $work/moving]"
for task in still moving; do
  vla eval --checkpoint "$work/run/best" --seeds 1000-1099 --task "$task" --jobs "$jobs" --json "$work/eval_$task.json"
done
