#!/usr/bin/env bash
# Checks that a refactoring changed nothing but wording: ./same.sh REV [-long]
set -euo pipefail
cd "$(dirname "$0")"
exec go run ./internal/same -before "$@"
