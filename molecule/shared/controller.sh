#!/usr/bin/env bash
# controller.sh CONTAINER FOLDER PACKAGE...: make a virtual environment with these packages in a container, and below it, in
# collections/, this checkout as it is released. Prints the versions.
set -euo pipefail
container=$1 folder=$2
shift 2
cd "$(dirname "$0")/../.."
wheels=$(molecule/shared/wheels.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ansible-galaxy collection build --output-path "$work" . >"$work/said" || { cat "$work/said" >&2; exit 1; }
podman exec "$container" rm -rf /srv/wheels /srv/collection
podman cp "$wheels" "$container:/srv/wheels"
podman cp "$work" "$container:/srv/collection"
# Debian's venv has no pip without a package of its own; pip's wheel runs as it is.
podman exec --interactive "$container" bash -s "$folder" "$@" <<'EOS'
set -euo pipefail
folder=$1
shift
python3 -m venv --clear --without-pip "$folder"
pips=(/srv/wheels/pip-*.whl)
"$folder/bin/python" "${pips[-1]}/pip" --quiet --disable-pip-version-check install --root-user-action=ignore \
	--no-index --find-links=/srv/wheels --no-compile "$@"
export ANSIBLE_COLLECTIONS_PATH=$folder/collections
"$folder/bin/ansible-galaxy" collection install --offline --collections-path "$folder/collections" \
	/srv/collection/ebpf-fleet-*.tar.gz >/srv/said || { cat /srv/said >&2; exit 1; }
"$folder/bin/ansible" --version | sed -n '1p; s/^ *\(python version = [0-9.]*\).*/\1/p' | paste -s -d' '
EOS
