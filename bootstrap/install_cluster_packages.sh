#!/usr/bin/env bash
# Gives every node the Python environment of the jobs, with the lock's exact pins and hashes. The cluster's bootstrap action runs it, when
# it has checked the release (plugins/fruit_pipeline/emr/nodes/node_start.py).
#
#   install_cluster_packages.sh <folder that holds the release>
#
# FRUITS_VENV   where the environment goes (default /opt/fruits/venv)
#
# Wheels come from the release itself when it holds a wheelhouse (no network but S3), else from the package index pip is set up for.
# Run again it changes nothing: an environment that holds the pins is left alone.
set -Eeuo pipefail
# Executors run as another user than this script.
umask 022

readonly venv="${FRUITS_VENV:-/opt/fruits/venv}"
readonly attempts=4
stage="start"
remedy="Read the lines above."

finish() {
  local code=$?
  if [ "$code" -ne 0 ]; then
    echo "bootstrap failed: $stage (exit code $code). $remedy" >&2
  fi
  exit "$code"
}
trap finish EXIT

# doing <what> <what to do if it fails>
doing() {
  stage="$1"
  remedy="$2"
  echo "==> $stage"
}

# Exits 0 if the environment holds exactly the pinned versions; names the first difference otherwise.
holds_pins() {
  "$venv/bin/python" - "$1" <<'PYTHON'
import importlib.metadata
import re
import sys

with open(sys.argv[1], encoding="utf-8") as stream:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", stream.read(), re.MULTILINE)
if not pins:
    sys.exit("the requirements hold no pin")
for name, version in pins:
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        installed = "nothing"
    if installed != version:
        sys.exit(f"{name}: {installed} installed, {version} pinned")
PYTHON
}

import_packages() {
  "$venv/bin/python" - "$1" <<'PYTHON'
import importlib
import re
import sys

modules = {name: name for name in ("boto3", "numpy", "obstore", "pyarrow")}
modules |= {"ai-edge-litert": "ai_edge_litert.interpreter", "pillow": "PIL.Image", "tensorflow-cpu": "tensorflow"}
with open(sys.argv[1], encoding="utf-8") as stream:
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", stream.read(), re.MULTILINE)
for name in sorted(modules.keys() & set(pinned)):
    importlib.import_module(modules[name])
    print(f"    {name} imports")
PYTHON
}

make_venv() {
  if ! command -v python3.11 >/dev/null; then
    doing "installing Python 3.11" "The node can't reach Amazon Linux' packages: give its subnet a route to S3 (gateway endpoint)."
    sudo dnf install --assumeyes --quiet python3.11 python3.11-pip
  fi
  doing "making the environment $venv" "Is there space on the disk, and is python3.11 whole?"
  if [ ! -w "$(dirname "$venv")" ] && ! mkdir -p "$(dirname "$venv")" 2>/dev/null; then
    sudo mkdir -p "$(dirname "$venv")"
    sudo chown "$(id -u):$(id -g)" "$(dirname "$venv")"
  fi
  # --clear: what an interrupted run left behind is not to be trusted.
  python3.11 -m venv --clear "$venv"
}

install_pins() {
  local options=(--quiet --no-input --no-deps --require-hashes --only-binary=:all: --requirement "$requirements")
  if [ -d "$release/bootstrap/wheelhouse" ]; then
    doing "installing the pins from the release's wheels" "A wheel that is missing or differs from the lock: publish again with --with-wheelhouse."
    options+=(--no-index --find-links "$release/bootstrap/wheelhouse")
  else
    doing "installing the pins from the package index" "The node reaches no index, or a hash differs from the lock: publish with --with-wheelhouse, then nodes need S3 only."
    options+=(--retries "$attempts")
  fi
  "$venv/bin/python" -m pip --disable-pip-version-check install "${options[@]}"
}

doing "reading the arguments" "Call it as: install_cluster_packages.sh <folder that holds the release>"
release="${1:-}"
requirements="$release/bootstrap/requirements.txt"
[ -f "$requirements" ]

if [ -x "$venv/bin/python" ] && difference="$(holds_pins "$requirements" 2>&1)"; then
  echo "$venv holds these pins already: nothing to do."
  exit 0
fi
[ -z "${difference:-}" ] || echo "$venv is not as pinned (${difference##*$'\n'}): making it anew."

make_venv
install_pins
doing "checking what was installed" "The environment differs from the lock after installing: read pip's lines above."
holds_pins "$requirements"
doing "importing the packages" "A wheel that does not fit this machine: the release needs a node with Amazon Linux 2023, x86-64 or arm64."
import_packages "$requirements"
echo "==> $venv is ready"
