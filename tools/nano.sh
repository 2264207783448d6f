#!/usr/bin/env bash
# The whole recipe of the nano policy, from nothing: demonstrations, seeing, features, training, evaluation.
# Called by `make nano`. Everything lies under build/nano and is taken up again where a run was ended.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
work="${NANO_WORK:-$root/build/nano}"
demonstrations="${NANO_DEMONSTRATIONS:-170}" # half with an eye that stands still, half with one that moves
seeing_steps="${NANO_SEEING_STEPS:-3800}"
jobs="$(nproc)"
mkdir -p "$work"
vla() { "$root/vla" "$@"; }
resume() { [ -z "$(ls -d "$1"/state-* 2>/dev/null)" ] || echo --resume; }

# Seeds: demonstrations from 100000 on, rendered scenes from 50000000 on, evaluation from 1000 on.
[ -e "$work/still/.done" ] || { vla sim --record "$((demonstrations / 2))" --headless --noise --seed 100000 --jobs "$jobs" --out "$work/still" && touch "$work/still/.done"; }
[ -e "$work/moving/.done" ] || { vla sim --record "$((demonstrations / 2))" --headless --noise --eye moving --seed 200000 --jobs "$jobs" --out "$work/moving" && touch "$work/moving/.done"; }
[ -e "$work/untrained" ] || vla checkpoint create --preset nano --out "$work/untrained" --seed 0
[ -e "$work/seeing.done" ] || { vla pretrain --checkpoint "$work/untrained" --scenes "$work/scenes" --out "$work/seeing" --sets 30000 --jobs "$jobs" \
  --steps "$seeing_steps" --threads "$jobs" $(resume "$work/seeing.state") && touch "$work/seeing.done"; }
vla cache --checkpoint "$work/seeing" --episodes "$work/still" "$work/moving" --out "$work/cache" --jobs "$jobs"
[ -e "$work/run.done" ] || { vla train --config nano "init=$work/seeing" "out=$work/run" "data.cache=$work/cache" \
  "data.episodes=[$work/still, $work/moving]" $(resume "$work/run") && touch "$work/run.done"; }
for task in still moving; do
  vla eval --checkpoint "$work/run/best" --seeds 1000-1199 --task "$task" --jobs "$jobs" --json "$work/eval_$task.json"
done
