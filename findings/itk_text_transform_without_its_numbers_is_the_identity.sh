#!/usr/bin/env bash
# Believed:  ITK's reader of text transforms (.tfm, .txt) refuses a file in which a transform lacks its Parameters or
#            FixedParameters, or has them under a misspelt key, as it refuses a line without a colon; at worst the centre of
#            rotation is lost.
# Version:   SimpleITK 2.5.7 (ITK 5.4).
# Behaviour: it says nothing, and the whole transform is the identity: numbers are taken only once both lines were read,
#            and a key that it doesn't know is passed over. A scan "registered" with such a file stays where it was.
# Output:    whole: the point moves 40.0 mm; without FixedParameters, misspelt, or without Parameters: 0.0 mm
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env" && "$place/env/bin/pip" install -q --disable-pip-version-check SimpleITK==2.5.7
cd "$place" && env/bin/python - <<'PYTHON'
import math, pathlib
import SimpleITK as sitk

turn = sitk.Euler3DTransform((30.0, 60.0, 0.0), 0.0, 0.0, math.pi / 2)
sitk.WriteTransform(turn, "whole.tfm")
text = pathlib.Path("whole.tfm").read_text()
assert "\nParameters:" in text and "\nFixedParameters:" in text
lines = text.splitlines(keepends=True)
files = {
    "whole": text,
    "without FixedParameters": "".join(line for line in lines if not line.startswith("FixedParameters")),
    "misspelt": text.replace("FixedParameters:", "Fixed Parameters:"),
    "without Parameters": "".join(line for line in lines if not line.startswith("Parameters")),
}
point, moved = (50.0, 40.0, 20.0), {}
for name, content in files.items():
    pathlib.Path("file.tfm").write_text(content)
    moved[name] = math.dist(point, sitk.ReadTransform("file.tfm").TransformPoint(point))
print({name: round(distance, 1) for name, distance in moved.items()})
assert moved.pop("whole") > 39 and not any(moved.values())
pathlib.Path("file.tfm").write_text(text + "no colon here\n")
try:
    sitk.ReadTransform("file.tfm")
except RuntimeError as error:
    print("a line without a colon is refused:", "delimited" in str(error))
else:
    raise SystemExit("a line without a colon is read too")
PYTHON
