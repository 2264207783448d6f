#!/usr/bin/env bash
# The whole recipe of the nano policy, from nothing: demonstrations, seeing, features, cloning, corrections, evaluation.
# Called by `make nano`. Everything lies under build/nano and is taken up again where a run was ended.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
work="${NANO_WORK:-$root/build/nano}"
demonstrations="${NANO_DEMONSTRATIONS:-60}" # with an eye that stands still, and as many with one that moves
seeing_steps="${NANO_SEEING_STEPS:-6000}"
rounds="${NANO_ROUNDS:-2}"             # of corrections; the policy of the round before drives
corrections="${NANO_CORRECTIONS:-340}" # episodes a round, which policy and demonstrator drive; 0: without
[ "$corrections" -gt 0 ] || rounds=0
jobs="$(nproc)"
mkdir -p "$work"
vla() { "$root/vla" "$@"; }
# A run goes on with the simulator it began with: demonstrations of another would not fit the evaluation.
lab="$(git -C "$root" rev-parse HEAD:src/vla_sim 2> /dev/null || echo unknown)"
[ -n "$(ls -A "$work")" ] || echo "$lab" > "$work/lab"
if [ "$(cat "$work/lab" 2> /dev/null)" != "$lab" ]; then
  echo "$work was begun with another version of src/vla_sim: remove it, or choose another folder by NANO_WORK" >&2
  exit 1
fi
resume() { [ -z "$(ls -d "$1"/state-* 2>/dev/null)" ] || echo --resume; }

demonstrate() { # folder, number, first seed, options
  local folder="$work/$1" number="$2" seed="$3"
  shift 3
  [ -e "$folder/.done" ] || { rm -rf "$folder" && vla sim --record "$number" --headless --noise --seed "$seed" --jobs "$jobs" --out "$folder" "$@" && touch "$folder/.done"; }
}

learn() { # name of the run, checkpoint to begin with, options
  local run="$work/$1" init="$2"
  shift 2
  [ -e "$run.done" ] || { vla train --config nano "init=$init" "out=$run" "data.cache=$work/cache" \
    "data.episodes=[$(IFS=,; echo "${episodes[*]}")]" $(resume "$run") "$@" && touch "$run.done"; }
}

# Seeds: demonstrations from 100000 on, corrections from 300000 on, rendered scenes from 50000000 on, evaluation from 1000 on.
demonstrate still "$demonstrations" 100000 --linger 3
demonstrate moving "$demonstrations" 200000 --linger 3 --eye moving
episodes=("$work/still" "$work/moving")
[ -e "$work/untrained" ] || vla checkpoint create --preset nano --out "$work/untrained" --seed 0
[ -e "$work/seeing.done" ] || { vla pretrain --checkpoint "$work/untrained" --scenes "$work/scenes" --out "$work/seeing" --sets 30000 --jobs "$jobs" \
  --steps "$seeing_steps" --threads "$jobs" $(resume "$work/seeing.state") && touch "$work/seeing.done"; }
vla cache --checkpoint "$work/seeing" --episodes "${episodes[@]}" --out "$work/cache" --jobs "$jobs"
learn cloned "$work/seeing" steps=1000

correct() { # round, options: the policy of the round before drives, then all there is is learned from
  local round="$1" before="$work/$policy/best"
  shift
  vla dagger --checkpoint "$before" --episodes "$corrections" --seed $((260000 + 40000 * round)) --out "$work/corrections-$round" --jobs "$jobs" "$@"
  corrected+=("$work/corrections-$round")
  learn "run-$round" "$before" "data.corrections=[$(IFS=,; echo "${corrected[*]}")]" \
    truth_weight=0.1 optimizer.trunk_learning_rate=3e-4 steps=2500
  policy="run-$round"
}

# Once the policy does well it drives more often: what is left to learn is what it gets itself into.
policy=cloned
corrected=()
for round in $(seq "$rounds"); do
  if [ "$round" = 1 ]; then correct 1; else correct "$round" --teacher-share 0 --hampered-share 0.4; fi
done
for task in still moving; do
  vla eval --checkpoint "$work/$policy/best" --seeds 1000-1049 --task "$task" --jobs "$jobs" --json "$work/eval_$task.json"
done
