"""One head that was scanned in four positions: the synthetic PET must be the same whichever way it lay.

FOLDER is a clone of https://github.com/neurolabusc/dcm_qa_decubitus (BSD-2-Clause): T1s of one person lying on the left
side, on the right side, on the face and on the back (``In/*/*_t1_fl2d_sag``). A position is right if each region's mean
SUVR, of those that it gives, is within 10 % of the median over the positions; regions that the scan has cut off must
have no value. Takes about a minute a position.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from DualGlowLib import InputError
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.session import Session
from DualGlowLib.volumes.reading import read_scan
from suite_table import Row, attempt, run

WITHIN = 0.10


def regions(session: Session, folder: Path) -> dict[str, float | None]:
    """The mean SUVR of each region in the PET that the model that ships makes at 40 years."""
    session.prepare(read_scan(folder))
    return {row["region"]: row["mean"] for row in session.sample(Question({"age": 40.0})).regions}


def judged(name: str, found: dict[str, dict | InputError]) -> tuple[str, str]:
    """Verdict on one position, compared with all that could be had."""
    mine = found[name]
    if isinstance(mine, InputError):
        raise mine
    others = [one for one in found.values() if isinstance(one, dict)]
    usual = {key: median(one[key] for one in others if one[key] is not None) for key in mine if mine[key] is not None}
    off = {key: mine[key] / usual[key] - 1 for key in usual}
    worst = max(off, key=lambda key: abs(off[key]))
    missing = [key for key in mine if mine[key] is None]
    said = f"; no value for {', '.join(missing)}" if missing else ""
    return ("right" if abs(off[worst]) <= WITHIN else "wrong"), f"{worst} {off[worst]:+.1%}{said}"


def rows(folder: Path) -> Iterator[Row]:
    session, found = Session(), {}
    session.open()
    for place in sorted(folder.glob("In/*/*_t1_*")):
        try:
            found[place.parent.name] = regions(session, place)
        except InputError as error:
            found[place.parent.name] = error
    for name in found:
        yield attempt(name, partial(judged, name, found))


if __name__ == "__main__":
    sys.exit(run(__doc__, rows))
