"""Headers with bytes and words changed at random: is a file read with the right geometry, or refused in one sentence?

``python Testing/benchmarks/header_mutations.py [COUNT] [SEED] [FORMAT …]`` changes COUNT headers of each format. It
counts what was read and refused, and prints each change that ended otherwise: an exception that is no ``InputError``,
a sentence of several lines, more than 20 s, or geometry that differs from nibabel's where nibabel reads the file. The
peak of the process' memory stands at the end. ``Testing/volumes/test_damaged.py`` runs some.
"""

from __future__ import annotations

import gzip
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from dicom_files import write_series
from DualGlowLib import InputError
from DualGlowLib.devices import peak_memory
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan

SECONDS, MEBIBYTES = 20, 4096
AFFINE = np.array([[-1.9, 0.2, 0, 10], [0.2, 1.9, 0.1, -20], [0, 0.1, 2.1, 30], [0, 0, 0, 1]])
DATA = np.random.default_rng(0).integers(1, 900, (12, 10, 9)).astype(np.int16)
WORDS = (
    b"0 -1 1 2 3 4 7 12 99999999 4294967296 1e30 nan inf -inf True False gzip ascii LIST LOCAL %d . .. / short".split()
)


def nifti(kind: type, packed: bool = False) -> Callable[[Path], tuple[Path, int]]:
    def make(folder: Path) -> tuple[Path, int]:
        image = kind(DATA, AFFINE)
        image.set_qform(AFFINE, 1)
        path = folder / ("a.nii.gz" if packed else "a.nii")
        content = image.to_bytes()
        path.write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
        return path, 544 if kind is nib.Nifti2Image else 352

    return make


def mgh(folder: Path) -> tuple[Path, int]:
    nib.save(nib.MGHImage(DATA.astype(np.float32), AFFINE), folder / "a.mgh")
    return folder / "a.mgh", 90


def itk(name: str, packed: bool) -> Callable[[Path], tuple[Path, int]]:
    def make(folder: Path) -> tuple[Path, int]:
        turned = np.diag([1.9, 2.0, 2.1, 1.0])
        sitk.WriteImage(Scan(DATA, turned).to_sitk(), str(folder / name), useCompression=packed)
        raw = (folder / name).read_bytes()
        ends = (raw.find(b"\n\n"), raw.find(b"\n", raw.find(b"ElementDataFile")))
        return folder / name, min((end for end in ends if end > 0), default=len(raw))

    return make


def dicom(folder: Path) -> tuple[Path, int]:
    paths = write_series(folder / "series", DATA.astype(np.uint16), np.diag([-2.0, -2.0, 2.0, 1.0]))
    return paths[4], paths[4].stat().st_size - 240


FORMATS = {
    "NIfTI-1": nifti(nib.Nifti1Image),
    "NIfTI-1 gz": nifti(nib.Nifti1Image, True),
    "NIfTI-2": nifti(nib.Nifti2Image),
    "MGH": mgh,
    "NRRD": itk("a.nrrd", False),
    "NRRD gz": itk("a.nhdr", True),
    "MetaImage": itk("a.mha", False),
    "MetaImage z": itk("a.mhd", True),
    "DICOM": dicom,
}
"""Names, and what writes such a file into a folder and says how long its header is."""


def mutated(content: bytes, header: int, random: np.random.Generator, text: bool) -> bytes:
    """The content with one to three changes of its header."""
    raw = bytearray(content[:header])
    for _ in range(random.integers(1, 4)):
        place, how = int(random.integers(0, max(len(raw), 1))), int(random.integers(0, 6))
        if text and how < 4:
            lines = bytes(raw).split(b"\n")
            line = int(random.integers(0, len(lines)))
            words = lines[line].split(b" ")
            words[int(random.integers(0, len(words)))] = WORDS[int(random.integers(0, len(WORDS)))]
            lines[line] = [b" ".join(words), lines[line] * 2, b"", b" ".join(words[1:])][how]
            raw = bytearray(b"\n".join(lines))
        elif how == 0 and raw:
            raw[place] ^= 1 << int(random.integers(0, 8))
        elif how == 5:
            raw = raw[:place] if random.random() < 0.1 else raw
        else:
            width = int(random.choice([1, 2, 4, 8]))
            value = [b"\x00", b"\xff", b"\x7f", b"\x80", random.bytes(1)][int(random.integers(0, 5))]
            place -= place % width
            raw[place : place + width] = (value * width)[: len(raw) - place]
    return bytes(raw) + content[header:]


def fault(path: Path, source: Path) -> tuple[str, str]:
    """What became of a file, "read", "refused" or "fault", and what is wrong with that."""
    began = time.monotonic()
    signal.alarm(SECONDS + 10)
    try:
        scan = read_scan(source)
    except InputError as error:
        message = str(error)
        return ("refused", "") if "\n" not in message and message.endswith(".") else ("fault", f"says {message!r}")
    except BaseException as error:
        return "fault", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    if time.monotonic() - began > SECONDS:
        return "fault", f"took {time.monotonic() - began:.0f} s"
    if path.suffix not in (".nii", ".gz", ".mgh"):
        return "read", ""
    try:
        other = nib.load(path)
        affine = other.affine
    except Exception:
        return "read", ""
    units = int(other.header["xyzt_units"]) & 7 if path.suffix != ".mgh" else 0
    same = scan.shape == other.shape[:3] and np.allclose(scan.affine, affine, rtol=1e-4, atol=1e-4)
    if same or units in (1, 3):  # which nibabel passes over
        return "read", ""
    return "fault", f"{scan.shape} {scan.affine.tolist()} and not {other.shape} {affine.tolist()}"


def timed_out(*_: object) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def main(count: int, seed: int, formats: list[str]) -> int:
    warnings.simplefilter("ignore")
    nib.imageglobals.logger.setLevel("CRITICAL")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    signal.signal(signal.SIGALRM, timed_out)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    faults = 0
    for name in formats or FORMATS:
        counts: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            path, header = FORMATS[name](Path(folder))
            content = path.read_bytes()
            packed = content[:2] == b"\x1f\x8b"
            content = gzip.decompress(content) if packed else content
            random = np.random.default_rng([seed, list(FORMATS).index(name)])
            for number in range(count):
                changed = mutated(content, header, random, path.suffix in (".nrrd", ".nhdr", ".mha", ".mhd"))
                path.write_bytes(gzip.compress(changed, 1) if packed else changed)
                what, why = fault(path, path.parent if name == "DICOM" else path)
                counts[what] += 1
                if why:
                    print(f"{name} {number}: {why}", flush=True)
        faults += counts["fault"]
        print(f"{name:12} {counts['read']:6} read {counts['refused']:6} refused {counts['fault']:4} faults", flush=True)
    peak = (peak_memory() or 0) / (1 << 20)
    print(f"{peak:.0f} MiB at most")
    return int(faults > 0 or peak > MEBIBYTES)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(int(given[0]) if given else 10_000, int(given[1]) if given[1:] else 0, given[2:]))
