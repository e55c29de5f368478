#!/usr/bin/env bash
# Every check, the quick ones first. Stops at the first group that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tests/run_lint.sh
echo "==> tests"
exec .venv/bin/python -m pytest
