#!/usr/bin/env bash
# EMR bootstrap action: gives every node the Python environment of the jobs, with the lock's exact pins and hashes.
#
#   install_cluster_packages.sh s3://<bucket>/code/<release>
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
  rm -rf "${scratch:-}"
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

# download <name below the release> <local file>
download() {
  local attempt
  for attempt in $(seq "$attempts"); do
    if aws s3 cp --only-show-errors "$release_uri/$1" "$2"; then return 0; fi
    [ "$attempt" -eq "$attempts" ] || sleep "$((attempt * ${FRUITS_RETRY_SECONDS:-3}))"
  done
  return 1
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

modules = {name: name for name in ("boto3", "numpy", "obstore", "onnxruntime", "pyarrow")}
modules |= {"pillow": "PIL.Image", "tensorflow-cpu": "tensorflow"}
with open(sys.argv[1], encoding="utf-8") as stream:
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", stream.read(), re.MULTILINE)
for name in sorted(modules.keys() & set(pinned)):
    importlib.import_module(modules[name])
    print(f"    {name} imports")
PYTHON
}

# The wheels of the release, one name a line; nothing if it has no wheelhouse.
wheels_of() {
  "$venv/bin/python" - "$1" <<'PYTHON'
import json
import sys

prefix = "bootstrap/wheelhouse/"
with open(sys.argv[1], encoding="utf-8") as stream:
    for name in sorted(json.load(stream)["files"]):
        if name.startswith(prefix):
            print(name[len(prefix):])
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
  local wheels wheel
  doing "reading the release's list of files" "Was the release published whole? Publish it again."
  download release.json "$scratch/release.json"
  wheels="$(wheels_of "$scratch/release.json")"
  if [ -n "$wheels" ]; then
    doing "downloading the release's wheels" "May the node's instance profile read $release_uri?"
    mkdir "$scratch/wheelhouse"
    while IFS= read -r wheel; do
      download "bootstrap/wheelhouse/$wheel" "$scratch/wheelhouse/$wheel"
    done <<<"$wheels"
    doing "installing the pins from the release's wheels" "A wheel that is missing or differs from the lock: publish again with --with-wheelhouse."
    options+=(--no-index --find-links "$scratch/wheelhouse")
  else
    doing "installing the pins from the package index" "The node reaches no index, or a hash differs from the lock: publish with --with-wheelhouse, then nodes need S3 only."
    options+=(--retries "$attempts")
  fi
  "$venv/bin/python" -m pip --disable-pip-version-check install "${options[@]}"
}

doing "reading the arguments" "Call it as: install_cluster_packages.sh s3://<bucket>/code/<release>"
release_uri="${1:-}"
release_uri="${release_uri%/}"
[[ "$release_uri" == s3://*/* ]]
scratch="$(mktemp -d)"
requirements="$scratch/requirements.txt"

doing "downloading $release_uri/bootstrap/requirements.txt" "Does the release exist, and may the node's instance profile read it?"
download bootstrap/requirements.txt "$requirements"

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
