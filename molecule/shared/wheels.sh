#!/usr/bin/env bash
# wheels.sh: download what a controller is made of, for Debian 13's Python; print the folder. Once a day, as newer ones appear.
# Nothing of it is run here: there are only wheels, and they are installed in containers, which reach no network.
set -euo pipefail
python=3.13
cores=(2.19 2.20 2.21) # those of tests/controllers/versions.py
wheels=$(cd "$(dirname "$0")/../.." && pwd)/build/wheels

umask go-w
mkdir -p "$wheels"
exec 9>>"$wheels/.lock"
flock 9
stamp=$wheels/.$(sha256sum <"$0" | cut -c1-12)
if [ -z "$(find "$stamp" -mmin -1440 2>/dev/null)" ]; then
	platforms=()
	for each in manylinux_2_{17,28,34}_"$(uname -m)" manylinux2014_"$(uname -m)"; do
		platforms+=(--platform="$each")
	done
	# One by one: no two versions are installed together. The last is the newest that there is.
	for core in "${cores[@]/%/.*}" ''; do
		said=$(python3 -m pip --disable-pip-version-check download --dest="$wheels" --only-binary=:all: \
			--python-version="$python" --implementation=cp "${platforms[@]}" \
			"ansible-core${core:+==$core}" ansible-runner jmespath pip 2>&1) || {
			echo "wheels: the registry gave no ansible-core ${core:-at all}: $said" >&2
			exit 1
		}
	done
	touch "$stamp"
fi
echo "$wheels"
