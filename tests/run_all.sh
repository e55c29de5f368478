#!/usr/bin/env bash
# Every check. Lint first; then the whole product's tests beside all the others, for they mostly wait.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tests/run_lint.sh
whole=$(mktemp)
trap 'kill "${whole_tests:-}" 2>/dev/null || true; rm -f "$whole"' EXIT
echo "==> tests (those of the whole product run beside the others; their output comes at the end)"
# With job control, or what runs in the background would not hear of Ctrl-C, which a test sends.
set -m
.venv/bin/python -m pytest -m e2e -o cache_dir=.pytest_cache/e2e > "$whole" 2>&1 &
whole_tests=$!
set +m
status=0
.venv/bin/python -m pytest -m "not e2e" || status=$?
wait "$whole_tests" || status=$?
cat "$whole"
exit "$status"
