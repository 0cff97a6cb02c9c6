#!/usr/bin/env bash
# Everything that must pass, in order; `make test` calls it once .venv is ready.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" MPLBACKEND=agg OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore

step()  { printf '\n== %s\n' "$*"; "$@"; }
files() { git ls-files -z --cached --others --exclude-standard | xargs -0 cksum 2>/dev/null || true; }
unchanged() {  # compares with the start and not with the last commit, so that it also serves a developer's working tree
  diff <(echo "$before") <(files) && return
  echo 'The files above were out of date (hand-edited, not exported, not cleaned) and have been written anew: look at them, then run again.'
  exit 1
}

before=$(files)
step nbdev_export
step nbdev_clean
unchanged
step nbdev_test --timing
step python tools/make_readme.py --check
step python tools/build_docs.py
unchanged
if command -v chromium >/dev/null || command -v google-chrome >/dev/null; then step python tools/shots.py --phone; fi
step pytest -q -n 2 --dist loadfile tests # two at a time: a test file stays in one process
