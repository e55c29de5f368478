#!/usr/bin/env bash
# Formatting, lint, import boundaries, types, shell scripts. Reports only: nothing is repaired here.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="$PWD/.venv/bin"
export PATH="$bin:$PATH" PYTHONPATH="$PWD:$PWD/plugins:$PWD/spark_jobs"
mapfile -t shell_scripts < <(find bootstrap tests .ci -type f \( -name '*.sh' -o -path '.ci/run' \) | sort)

echo "==> ruff format"
ruff format --check --quiet . || { ruff format --diff . | head -60; exit 1; }
echo "==> ruff check"
ruff check --quiet .
echo "==> import-linter"
lint-imports --cache-dir .import_linter_cache
echo "==> mypy"
mypy --no-error-summary fruit_contract fruit_lake fruit_cli local_cloud plugins/fruit_pipeline plugins/fruits_ui.py spark_jobs dags benchmarks
echo "==> shellcheck"
shellcheck "${shell_scripts[@]}"
