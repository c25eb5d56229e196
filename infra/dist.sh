#!/usr/bin/env bash
# Prove the wheel: built, installed into an empty environment outside the repository, run there until rows are seen.
#   dist.sh UV PYTHON      leaves the wheel in dist/
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD uv=$(realpath "$1") python=$(realpath -s "$2")
folder=$(mktemp --directory)
up=
finish() {
  if [[ -n $up ]]; then kill -INT "$up" 2>/dev/null && wait "$up" || true; fi
  rm -rf "$folder"
}
trap finish EXIT
fail() { echo "make dist: $1" >&2; tail -n 20 "$folder"/*.log >&2 || true; exit 1; }

rm -f dist/headgate-*.whl
"$uv" build --quiet --wheel --python "$python" --out-dir dist .
wheel=$(echo "$repository"/dist/headgate-*.whl)

cd "$folder"
"$uv" venv --quiet --python "$python" environment
# As a user would: the ranges of the wheel, not the lock.
"$uv" pip install --quiet --python environment/bin/python "$wheel"
unset PYTHONPATH VIRTUAL_ENV ${!HEADGATE_@} ${!PREFECT_@}
headgate=$folder/environment/bin/headgate
"$headgate" init shop > init.log
cd shop
"$headgate" up > ../up.log 2>&1 &
up=$!
for _ in $(seq 1200); do
  [[ -d inbox/orders ]] && [[ -f .headgate/endpoints.json ]] && break
  kill -0 "$up" 2>/dev/null || fail "headgate up ended"
  sleep 0.2
done
[[ -d inbox/orders ]] || fail "headgate up did not come up"
cp samples/orders.csv inbox/orders/
for _ in $(seq 120); do
  rows=$("$headgate" rows orders --json 2> ../rows.log | "$folder/environment/bin/python" -c 'import json, sys; print(len(json.load(sys.stdin)))' 2>/dev/null || echo 0)
  [[ $rows == 5 ]] && break
  kill -0 "$up" 2>/dev/null || fail "headgate up ended"
  sleep 0.5
done
[[ $rows == 5 ]] || fail "the file was dropped, but its rows did not come"
echo "${wheel##*/}: installed into an empty environment, headgate up, 1 file dropped, $rows rows"
