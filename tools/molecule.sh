#!/usr/bin/env bash
# molecule.sh [SCENARIO...]: test the scenarios, all of them by default. A warning fails the run as an error does.
set -euo pipefail
umask go-w # root runs this
cd "$(dirname "$0")/.."
export PATH=$PWD/build/venv/bin:$PATH NO_COLOR=1
export ANSIBLE_HOME=$PWD/build/molecule/home # separate state: a different checkout of the same name must not share it

mkdir -p build/molecule
before=$(umask)
umask 077 # who can open it can lock it
exec 9>>build/molecule/lock
umask "$before"
flock --nonblock 9 || { echo "molecule: waiting for another run in this checkout"; flock 9; }

if [ $# = 0 ]; then
	for each in molecule/*/molecule.yml; do
		each=${each%/molecule.yml}
		set -- "$@" "${each#molecule/}"
	done
fi

began=$SECONDS
for scenario in "$@"; do
	start=$SECONDS
	log=build/molecule/$scenario.log
	if ! molecule test --scenario-name "$scenario" >"$log" 2>&1 9>&-; then
		cat "$log"
		echo "molecule: scenario $scenario failed; its output is in $log" >&2
		exit 1
	fi
	# Ignored: a hint, as molecule/ stays where it is; what is true of generic mode on a veth, which a scenario asks for;
	# and ansible-compat evaluates each setting as Python, also a temporary folder's name, such as ansible-local-123or8abc.
	if grep --ignore-case warning "$log" |
		grep --invert-match --regexp "should migrate to 'extensions/molecule'" --regexp "in generic mode on a veth" \
			--regexp "^<unknown>:1: SyntaxWarning: invalid decimal literal" >&2; then
		echo "molecule: scenario $scenario passed, but with warnings; its output is in $log" >&2
		exit 1
	fi
	echo "molecule: $scenario passed in $((SECONDS - start)) s"
done
echo "molecule: $# scenarios passed in $((SECONDS - began)) s"
