#!/usr/bin/env bash
# sanity.sh: ansible-test sanity, without ignore files, on a copy of this checkout at the path that it requires.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/build/venv/bin
work=$(mktemp -d) # not in this checkout: ansible-test would ask git, which ignores build/
trap 'rm -rf "$work"' EXIT
copy=$work/ansible_collections/ebpf/fleet

if [ -n "$(find tests/sanity -name 'ignore*' 2>/dev/null)" ]; then
	echo "sanity: there is an ignore file in tests/sanity; fix what it ignores." >&2
	exit 1
fi
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
	[ ! -e "$file" ] || printf '%s\0' "$file"
done | tar --create --null --files-from=- | tar --extract --directory="$copy"

# ansible-test downloads get-pip.py from a host that not every machine can reach; Python's own ensurepip works as well.
requirements=$("$bin/python" -c 'import ansible_test._internal as m; print(m.__path__[0])')/python_requirements.py
version=$(sed -nE "s/^ *pip='([0-9.]+)',$/\1/p" "$requirements")
cached=$HOME/.ansible/test/cache/get_pip_${version//./_}.py
if [ ! -e "$cached" ]; then
	mkdir -p "${cached%/*}"
	cp tools/get_pip.py "$cached"
fi

cd "$copy"
export PATH=$bin:$PATH
python=$("$bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! ansible-test sanity --color no --venv --python "$python" "$@" >"$work/log" 2>&1; then
	grep '^ERROR' "$work/log" || tail -n 40 "$work/log"
	exit 1
fi
echo "sanity: $(grep -c '^Running sanity test ' "$work/log") tests passed, nothing ignored"
