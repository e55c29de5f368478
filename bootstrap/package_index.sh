# shellcheck shell=bash
# Sourced by the Makefile. uv does not read pip's configuration, so a machine that reaches its package index through
# pip's settings (PIP_INDEX_URL, pip.conf, PIP_CERT) would fail with uv alone. What the user set for uv wins.
_pip_setting() {
  "${BIN:-.venv/bin}"/python -m pip config get "global.$1" 2>/dev/null || true
}
if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
  _index="${PIP_INDEX_URL:-$(_pip_setting index-url)}"
  if [ -n "$_index" ]; then export UV_DEFAULT_INDEX="$_index"; fi
fi
if [ -z "${SSL_CERT_FILE:-}" ]; then
  _certificates="${PIP_CERT:-$(_pip_setting cert)}"
  if [ -n "$_certificates" ]; then export SSL_CERT_FILE="$_certificates"; fi
fi
unset _index _certificates
