#!/usr/bin/env bash
# Runs the preloader against a real Ollama and writes docs/real-ollama-results.md.
#
#   tools/real-ollama/run.sh [NAME…]     some scenarios only: prints, writes nothing
#
# Installs the real Ollama when it is missing (20 minutes, once per machine); with --if-installed it only says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --if-installed ]; then
  shift
  if ! prefix=$(tools/real-ollama/install.sh --check); then
    echo "NOTICE: no real Ollama on this machine; run tools/real-ollama/install.sh once (20 minutes). NOTHING WAS RUN AGAINST A REAL ONE."
    exit 0
  fi
else
  prefix=$(tools/real-ollama/install.sh)
fi
cargo build --release --locked --bin model-preloader
binary=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/model-preloader
if [ $# -gt 0 ]; then
  exec python3 tools/real-ollama/scenarios.py --prefix "$prefix" --binary "$binary" --keep "$@"
fi
exec python3 tools/real-ollama/scenarios.py --prefix "$prefix" --binary "$binary" --write
