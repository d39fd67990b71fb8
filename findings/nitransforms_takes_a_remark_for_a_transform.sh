#!/usr/bin/env bash
# Believed:  nitransforms reads the text transforms (.tfm) that ITK reads; a line that begins with # is a remark there.
# Version:   nitransforms 25.1.0; SimpleITK 2.5.7 for comparison.
# Behaviour: it splits the file at every #, wherever it stands, and takes each part for a transform. One remark at the end
#            of a valid file ends in an IndexError; ITK reads the same file.
# Output:    SimpleITK: the matrix; nitransforms without the remark: the matrix; with it: IndexError
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q --disable-pip-version-check nitransforms==25.1.0 SimpleITK==2.5.7 numpy==2.3.5
cd "$place" && env/bin/python - <<'PYTHON'
import pathlib
import numpy as np
import SimpleITK as sitk
from nitransforms import linear

shift = sitk.AffineTransform(3)
shift.SetTranslation((1.0, 2.0, 3.0))
sitk.WriteTransform(shift, "plain.tfm")
text = pathlib.Path("plain.tfm").read_text()
pathlib.Path("remark.tfm").write_text(text + "#made by hand\n")
by_itk = sitk.ReadTransform("remark.tfm").TransformPoint((0.0, 0.0, 0.0))
plain = np.asarray(linear.load("plain.tfm", fmt="itk").matrix)[:3, 3]
print("SimpleITK:", by_itk, "nitransforms, plain (RAS):", plain)
assert by_itk == (1.0, 2.0, 3.0) and np.allclose(plain, (-1.0, -2.0, 3.0))
try:
    linear.load("remark.tfm", fmt="itk")
    raise SystemExit("it reads the remark now")
except IndexError as error:
    print("nitransforms, with a remark: IndexError:", error)
PYTHON
