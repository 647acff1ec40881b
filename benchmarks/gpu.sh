#!/usr/bin/env bash
# All that is to be known of evenclip on a GPU, in at most 12 minutes: the device tests on the real device, then
# benchmarks/gpu.py, whose rows go to benchmarks/results/gpu.csv.
#   benchmarks/gpu.sh [--dry-run] [TABLE]      --dry-run: the same steps on a CPU, tiny
set -euo pipefail
dry=""
if [ "${1:-}" = --dry-run ]; then dry=--dry-run; shift; fi
table=$(realpath -m "${1:-"$(dirname "$0")/results/gpu.csv"}")
cd "$(dirname "$0")/.."
export PYTHONPATH=src MLFLOW_DISABLE_TELEMETRY=true
if [ -z "$dry" ]; then
  python -c 'import sys, torch; sys.exit("torch finds no CUDA device" if not torch.cuda.is_available() else 0)'
  status=0
  timeout 240 python -m pytest tests/unit/test_devices.py -q --durations=5 || status=$?
fi
limit="timeout 460"
if [ -n "$dry" ]; then limit=""; fi  # a busy CPU may take its time
$limit python -m benchmarks.gpu "$table" $dry
exit "${status:-0}"
