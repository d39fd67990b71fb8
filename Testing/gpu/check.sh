#!/usr/bin/env bash
# One command for a machine with a GPU, under 8 minutes: does it compute what the processor does, and how fast.
# Without a GPU the same runs on the processor, small. Needs DualGlow installed (PYTHON names its interpreter).
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD/DualGlowSynthesis${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" Testing/gpu/check.py "$@"
