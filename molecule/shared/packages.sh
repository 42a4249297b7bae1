#!/usr/bin/env bash
# packages.sh ROOT: give apt in an image node_exporter and Prometheus, in a folder; mmdebstrap runs it for image.sh.
# Without what they recommend, as that asks the machine's disks and sensors.
set -euo pipefail
cd "$1"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet=2 install --download-only --no-install-recommends \
	prometheus prometheus-node-exporter
mkdir srv/packages
mv var/cache/apt/archives/*.deb srv/packages
for each in srv/packages/*.deb; do
	dpkg-deb --field "$each"
	echo "Filename: ./${each##*/}"
	echo "Size: $(stat --format=%s "$each")"
	echo "SHA256: $(sha256sum "$each" | cut -d' ' -f1)"
	echo
done >srv/packages/Packages
echo 'deb [trusted=yes] file:/srv/packages ./' >etc/apt/sources.list
