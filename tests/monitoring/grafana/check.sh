#!/usr/bin/env bash
# check.sh: compile the dashboard against Grafana's own types, and see that the compiler finds errors that are planted in it.
# It needs Debian's packages nodejs and npm; what it fetches is pinned in package-lock.json beside, and goes into build/.
set -euo pipefail
cd "$(dirname "$0")"
work=$(realpath -m ../../../build/grafana)
json=../../../files/monitoring/ebpf_fleet.dashboard.json

mkdir -p "$work"
cp package.json package-lock.json board.ts "$work"
board=$(<"$json")
cd "$work"
if ! cmp --silent package-lock.json node_modules/.of; then
	npm ci --ignore-scripts --no-audit --no-fund --silent
	cp package-lock.json node_modules/.of
fi

compiled() { # the JSON, as a value of the type
	printf 'import type { Board } from "./board.js";\nexport const board: Board = %s;\n' "$1" >dashboard.ts
	node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --target es2022 dashboard.ts
}

compiled "$board"
planted=('"title": >"heading": ' '"graphMode": "area">"graphMode": "aera"' '"h": 4>"h": "4"' '"expr": >"exp": ')
for each in "${planted[@]}"; do
	wrong=${board/"${each%%>*}"/"${each#*>}"}
	[ "$wrong" != "$board" ] || { echo "check: $each: there is nothing like it in the dashboard" >&2 && exit 1; }
	! compiled "$wrong" >/dev/null || { echo "check: $each was not found" >&2 && exit 1; }
done
echo "dashboard: of Grafana's types, and ${#planted[@]} planted errors found"
