#!/usr/bin/env bash
# requirements.sh: renew tools/requirements-*.txt: for each .in file the newest releases in its ranges, with their
# dependencies and hashes, for each Python from 3.11. `make requirements` runs it.
set -euo pipefail
cd "$(dirname "$0")"
export UV_NO_CONFIG=1 UV_CUSTOM_COMPILE_COMMAND="make requirements"
compile() { ../build/venv/bin/uv pip compile --quiet --universal --python-version 3.11 "$@"; }

together=$(mktemp)
trap 'rm -f "$together"' EXIT
compile --no-annotate --upgrade requirements-*.in --output-file "$together" # one venv has them all
for each in requirements-*.in; do
	compile --no-annotate --generate-hashes --constraint "$together" "$each" --output-file "${each%.in}.txt"
done
