#!/usr/bin/env bash
# A run by hand, on a host: it must fail, and change nothing. Prints what the journal says of it.
set -euo pipefail

before=$(/root/look.sh all)
since=$(date +%s.%N)
if systemctl start ebpf-fleet-pull.service 2>/dev/null; then
	echo "the run did not fail" >&2
	exit 1
fi
diff <(echo "$before") <(/root/look.sh all) >&2
journalctl --sync
journalctl --unit=ebpf-fleet-pull.service --output=cat --since="@$since"
