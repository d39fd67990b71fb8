#!/usr/bin/env bash
# Believed:  .bidsignore has the rules of .gitignore: "records/" leaves out a folder of that name with all in it.
# Version:   bids-validator-deno 3.0.2.
# Behaviour: a pattern that ends in a slash matches nothing: the files in the folder are reported as not BIDS. Without
#            the slash the folder is left out.
# Output:    "records/": 1 file NOT_INCLUDED; "records": 0
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env" && "$place/env/bin/pip" install -q --disable-pip-version-check bids-validator-deno==3.0.2
cd "$place" && env/bin/python - <<'PYTHON'
import json, pathlib, subprocess, sys

data = pathlib.Path("data")
(data / "records").mkdir(parents=True)
(data / "records" / "one.json").write_text("{}")
(data / "README").write_text("A dataset without persons, to try patterns on.\n" * 5)
(data / "dataset_description.json").write_text(json.dumps({"Name": "patterns", "BIDSVersion": "1.9.0"}))
counts = {}
for pattern in ("records/", "records"):
    (data / ".bidsignore").write_text(pattern + "\n")
    program = "import sys, bids_validator_deno as b; sys.exit(b.cli())"
    run = subprocess.run([sys.executable, "-c", program, "--format", "json", "data"], capture_output=True, text=True)
    issues = json.loads(run.stdout)["issues"]["issues"]
    counts[pattern] = sum(one["code"] == "NOT_INCLUDED" and "records" in one["location"] for one in issues)
print(counts)
assert counts == {"records/": 1, "records": 0}
PYTHON
