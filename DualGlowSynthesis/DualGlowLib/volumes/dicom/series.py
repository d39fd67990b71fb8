"""Which DICOM series a folder holds, from the headers alone, and which of them is the T1 or the PET.

Tags and modules are those of DICOM PS3.3 and PS3.6.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...files import is_unfetched
from ..headers import first_bytes
from .file import DAMAGE, DICOMDIR, HEAD, is_dicom, is_marked, number, read_dataset, text, values
from .suv import attenuation_corrected

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Frame", "Series", "choose_series", "is_enhanced", "list_series", "not_fetched"]

# What is needed to list, to choose, to place and to scale; the rest of a header is skipped, which is faster.
_KEYWORDS = re.findall(
    r"\w+",
    """
    SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyDate SeriesDate AcquisitionDate AcquisitionDateTime
    StudyTime SeriesTime AcquisitionTime Modality Manufacturer ManufacturerModelName SeriesDescription PatientBirthDate
    PatientSex PatientAge PatientWeight ContrastBolusAgent ScanningSequence SequenceVariant MRAcquisitionType
    PulseSequenceName RepetitionTime EchoTime InversionTime MagneticFieldStrength ProtocolName SoftwareVersions
    ActualFrameDuration DecayCorrected AttenuationCorrected DecayCorrectionDateTime StudyInstanceUID SeriesInstanceUID
    SeriesNumber InstanceNumber ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID SamplesPerPixel
    PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing BitsAllocated PixelRepresentation CorrectedImage
    AttenuationCorrectionMethod PatientSize TimezoneOffsetFromUTC ComplexImageComponent ImageComments SeriesType
    NumberOfTimeSlices NumberOfTimeSlots DerivationDescription NumberOfSlices
    RescaleIntercept RescaleSlope RealWorldValueMappingSequence RadiopharmaceuticalInformationSequence Units SUVType
    DecayCorrection FrameReferenceTime SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
    """,
)
# (0008,001C) Synthetic Data, unknown to pydicom 2; private: GE's scan time, Siemens's time of decay correction, GE's
# raw data type (magnitude, phase …), Philips's SUV and activity factors.
_TAGS = [0x0008001C, 0x0009100D, 0x00711022, 0x0043102F, 0x70531000, 0x70531009]
_SHARED = re.findall(
    r"\w+",
    """StudyInstanceUID FrameOfReferenceUID SeriesNumber Modality SeriesDescription ProtocolName EchoTime InversionTime
    ImageType AcquisitionNumber Rows Columns Manufacturer""",
)
_NOT_MAGNITUDE = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}
_NO_IMAGES = (".json", ".txt", ".md", ".tsv", ".csv", ".pdf", ".xml", ".html", ".yml", ".yaml", ".py", ".sh", "readme")
_NO_VOLUME = {"LOCALIZER", "PROJECTION IMAGE", "MIP", "MINIP", "MOSAIC", "SCREEN SAVE", "SECONDARY", "ADC", "T1 MAP"}
_T1 = re.compile(
    r"(?<![a-z0-9])m?t1(?![0-9])|st1w|mp2?[ _-]?rage|spgr|bravo|mdeft|tfe|(?<![a-z])(mpr|flash|vibe|fl3d|ffe)(?![a-z])"
)
# Two kinds of words: those that say what an image is, even beside "T1", and those that stand in the names of T1s too
# (an acceleration, a correction, a protocol), so that they count only where nothing says T1.
_NO_T1 = re.compile(
    r"(?<![a-z0-9])(t2|pdw?|b0|dwi|dti|adc|asl|tof|mra|swi|swan|epi|bold|fmri|stir|csi|mip|inv-?[12])(?![a-z])"
    r"|(?<!t1)(?<!t1[ _-])flair|scout|locali[sz]|survey|spectro|t1[ _-]?rho|t1[ _-]images?(?![a-z])"
    r"|(?<![a-z])phase(?![a-z])"
    r"|(t[12]\*?|b[01]|field|phase|r[12]\*?|adc|fa|cbf|cbv|mtt|ttp|rho)[ _-]*maps?(?![a-z])|field.?map|calib"
    r"|(?<![a-z0-9])b1(?![a-z])(?![ _-]*(corr|filt|norm))"
)
_MAY_BE_NO_T1 = re.compile(r"diff|trace|perf|angio|plane|asset|(?<![a-z])(maps?|loc)(?![a-z])")
_UNI = re.compile(r"(?<![a-z])uni(?![a-z])|unit1")
_DENOISED = re.compile(r"(?<![a-z])uni[ _-]?den")
_ENHANCED_BY = re.compile(
    r"(?<![a-z])(post|gd|gado\w*|gbca|km|ce|c\+)(?![a-z])|contrast|post[ _-]?(gd|gado|con|km)|\+ ?c(?![a-z])"
)
_NATIVE = re.compile(
    r"(?<![a-z])(pre|non|no|without|w/?o|ohne|sans)[ _-]*(iv[ _-]*)?(contrast|gd|gado\w*|gbca|km|ce|c)(?![a-z])"
)
_NOT_ATTENUATED = re.compile(r"(?<![a-z])(nac|no[ _-]?ac|non[ _-]?ac|uncorr\w*|w/?o[ _-]?ac)(?![a-z])|not?n?[ _-]att")
_GE_IMAGE_TYPES = {1: "PHASE", 2: "REAL", 3: "IMAGINARY"}  # Raw Data Type Image, (0043,102F)


@dataclass(frozen=True)
class Frame:
    """One slice: where its pixels are stored and where they lie in the patient.

    Attributes:
        file: the file, and ``index`` the frame within it (0 in a file of one).
        header: what was read of the file, without pixels.
        position: centre of the first pixel in LPS millimetres, or None where the file doesn't say.
        axes: 2×3, unit vectors (LPS) along which the columns' and the rows' index grows, or None.
        spacing: millimetres between columns and between rows, or None.
        slope, intercept: value = slope · stored + intercept.
        echo: echo time in milliseconds, or None.
        kind: Image Type, and what else says that an image is no magnitude.
        time: Frame Reference DateTime, which frames of enhanced files have; else empty.
        begun: Frame Acquisition DateTime, of enhanced files; else empty.
        lasted: milliseconds of the time frame that it belongs to, or None.
    """

    file: Path
    index: int
    header: Dataset = field(repr=False)
    position: np.ndarray | None
    axes: np.ndarray | None
    spacing: tuple[float, float] | None
    slope: float
    intercept: float
    echo: float | None
    kind: tuple[str, ...]
    time: str = ""
    begun: str = ""
    lasted: float | None = None

    @property
    def depth(self) -> float:
        """Millimetres along the slice's normal; 0 where the file doesn't say."""
        if self.position is None or self.axes is None:
            return 0.0
        return float(np.cross(self.axes[0], self.axes[1]) @ self.position)

    @property
    def magnitude(self) -> bool:
        return not _NOT_MAGNITUDE.intersection(self.kind)


@dataclass(frozen=True)
class Series:
    """One DICOM series, as its headers describe it.

    Attributes:
        uid: Series Instance UID; empty of files without one, which are a series by folder and Series Number.
        number: Series Number, None where it is not given.
        modality: MR, PT, CT and so on.
        description: Series Description, or else Protocol Name.
        files: sorted by the slice's position along the normal.
        shape: columns, rows, slices at different positions.
        frames: the slices, in the order of ``files``.
        damaged: files of the same folders whose header can't be read, so that it is unknown what they belong to.
        unfetched: links in the same folders to content that isn't there.
        others: the other series that it was chosen from.
    """

    uid: str
    number: int | None
    modality: str
    description: str
    files: tuple[Path, ...] = field(repr=False)
    shape: tuple[int, int, int]
    frames: tuple[Frame, ...] = field(repr=False)
    damaged: tuple[Path, ...] = field(default=(), repr=False)
    unfetched: tuple[Path, ...] = field(default=(), repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        name = f'{"?" if self.number is None else self.number} {self.modality} "{self.description}"'
        return f"{name} ({self.shape[2]} slice{'s' if self.shape[2] != 1 else ''})"

    @property
    def choice(self) -> str:
        """That it was chosen from several, in words; empty if it was alone."""
        more = ", ".join(self.others)
        return f"{len(self.others) + 1} series, {self} is used and not {more}" if self.others else ""

    @property
    def header(self) -> Dataset:
        return self.frames[0].header

    @property
    def is_t1(self) -> bool:
        """Whether the headers speak of a T1-weighted volume of a head; an image may still be something else."""
        head, first = self.header, self.frames[0]
        if self.modality != "MR" or _NO_VOLUME.intersection(first.kind) or _is_colour(head):
            return False
        depths = [frame.depth for frame in self.frames]
        sides = [] if first.spacing is None else [n * d for n, d in zip(self.shape, first.spacing, strict=False)]
        if self.shape[2] < 20 or max(depths) - min(depths) < 70 or min(sides, default=0) < 100:
            return False
        te, tr, ti = first.echo or 0.0, number(head, "RepetitionTime") or 0.0, number(head, "InversionTime") or 0.0
        if te > 40:
            return False
        # The description is the series' own; a protocol's name may stand for the whole examination.
        for words in (self.description, f"{text(head, 'ProtocolName')} {text(head, 'PulseSequenceName')}"):
            words = words.lower()
            if _NO_T1.search(words):
                return False
            if _T1.search(words):
                return True
            if _MAY_BE_NO_T1.search(words) and words.startswith(self.description.lower()):
                return False
        sequence, variant = values(head, "ScanningSequence"), values(head, "SequenceVariant")
        if "GR" in sequence:
            prepared = "MP" in variant or ("IR" in sequence and 300 < ti < 1500)
            return prepared and 0 < te < 10 and text(head, "MRAcquisitionType") == "3D"
        return "SE" in sequence and 0 < te < 30 and 250 < tr < 1000


def list_series(folder: str | Path, recursive: bool = True) -> list[Series]:
    """The image series of a folder, by series number; only headers are read.

    Files are known by their content, whatever their names; gzipped ones are unpacked. Copies of one image (equal SOP
    Instance UID) count once. What is not an image (reports, presentation states, DICOMDIR) is left out.

    Args:
        folder: where the files lie.
        recursive: also look into the folders inside it.

    Raises:
        InputError: if the folder doesn't exist or can't be read, or holds no DICOM image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds the DICOM files.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that break a rule of the standard
        found, damaged, others, unfetched = _headers(folder, recursive)
    if not found:
        if unfetched:
            raise InputError(not_fetched(folder, unfetched))
        if damaged:
            raise InputError(f"{damaged[0]} is incomplete or damaged DICOM; copy or export it again.")
        if others:
            raise InputError(f"{folder} holds no DICOM image but only {', '.join(sorted(others))}; give the images.")
        raise InputError(f"{folder} is a folder without DICOM images; give an image file or a folder of DICOM files.")
    return sorted(
        (_series(frames, damaged, unfetched) for frames in found.values()),
        key=lambda s: (s.number is None, s.number or 0, s.uid),
    )


def choose_series(found: list[Series], folder: Path, series: str | None = None, pet: bool = False) -> Series:
    """The series that is asked for, or the one that is plainly the T1 (or the PET).

    Without a wish, a folder's only series is taken, whatever it is, or its only volume if that is a PET. Among
    several the T1 is taken if just one looks like it; of several T1s those before contrast agent are preferred to
    those after, the uniform image of an MP2RAGE (denoised, if there is one) to its parts, acquired ones to derived
    ones (reformats) and slices of at most 2 mm to thicker ones. Of several PETs, acquired ones are preferred to
    synthetic ones, those corrected for attenuation to those that aren't, and static ones to dynamic ones.

    Args:
        found: from ``list_series``.
        folder: for messages.
        series: series number, Series Instance UID, or part of the description in any case.
        pet: whether the PET is wanted.

    Returns:
        The series; ``others`` names those that it was chosen from.

    Raises:
        InputError: if none or several fit; it lists the series there are.
    """
    if series is not None:
        return _with_others(_wished(found, folder, str(series).strip()), found)
    if len(found) == 1:
        return found[0]
    volumes = [s for s in found if s.shape[2] >= 8]
    if pet:
        candidates = [s for s in volumes if s.modality == "PT"]
        rules = (_not_synthetic, _attenuated, _static)
    else:
        candidates = [s for s in found if s.is_t1]
        rules = (_without_contrast, _uniform, _denoised, _acquired, _thin)
    for preferred in rules:
        candidates = [s for s in candidates if preferred(s)] or candidates
    if not candidates and len(volumes) == 1 and volumes[0].modality == "PT":
        candidates = volumes
    if len(candidates) == 1:
        return _with_others(candidates[0], found)
    what = "PET" if pet else "T1"
    how_many = f"{len(candidates)} of them may be" if candidates else "none of them is plainly"
    advice = "put the right one into a folder of its own" if pet else (
        "choose one by its number, its UID or part of its description (--series)"
    )  # fmt: skip
    raise InputError(
        f"{folder} holds {len(found)} series and {how_many} the {what}: {_listing(candidates or found)}; {advice}."
    )


def _wished(found: list[Series], folder: Path, wish: str) -> Series:
    for fits in (
        [s for s in found if s.uid == wish],
        [s for s in found if s.number is not None and str(s.number) == wish],
        [s for s in found if wish and wish.lower() in s.description.lower()],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise InputError(
                f'{folder} holds {len(fits)} series that fit "{wish}": {_listing(fits, uid=True)}; '
                "give one of these UIDs as the series (--series)."
            )
    raise InputError(f'{folder} holds no series that fits "{wish}", only {_listing(found)}; choose one of these.')


def _with_others(chosen: Series, found: list[Series]) -> Series:
    return replace(chosen, others=tuple(str(series) for series in found if series is not chosen))


def _headers(folder: Path, recursive: bool) -> tuple[dict[str, list[Frame]], list[Path], set[str], list[Path]]:
    """Slices by series, files that are damaged, what else there is, and files whose content is somewhere else."""
    found: dict[str, list[Frame]] = {}
    nameless: dict[str, list[Frame]] = {}  # without Series Instance UID, which some programs that make anonymous drop
    damaged, unfetched, others, seen = [], [], set(), set()
    for path in _files(folder, recursive):
        if is_unfetched(path):
            if not path.name.lower().endswith(_NO_IMAGES):
                unfetched.append(path)
            continue
        announced = path.name.lower().endswith((".dcm", ".dcm.gz"))  # then it had better be DICOM
        try:
            head = first_bytes(path, HEAD)
            announced |= is_dicom(head)
            if DICOMDIR in head:
                others.add("a DICOMDIR")
                continue
            if not is_dicom(head):
                raise ValueError("not DICOM")
            dataset = read_dataset(path, stop_before_pixels=True, specific_tags=[*_KEYWORDS, *_TAGS])
            kind, uid = dataset.SOPClassUID.name, text(dataset, "SeriesInstanceUID")
            if "Rows" not in dataset and "Image Storage" not in kind and uid:
                others.add(kind.removesuffix(" Storage"))
                continue
            int(dataset.Rows), int(dataset.Columns), list(dataset)  # to know now that they can be read
            frames = _frames(path, dataset)
        except Exception:  # whatever gzip, struct and pydicom make of garbage
            if announced:
                damaged.append(path)
            continue
        instance = text(dataset, "SOPInstanceUID")
        if not instance or instance not in seen:
            seen.add(instance)
            (found if uid else nameless).setdefault(uid or _place(path, dataset), []).extend(frames)
    named = {frame.file.parent for frames in found.values() for frame in frames}
    for place, frames in nameless.items():
        if frames[0].file.parent in named:  # one of a series' slices, whose header is damaged
            damaged += [frame.file for frame in frames]
        else:
            found[place] = frames
    return _rejoined(found), damaged, others, unfetched


def _rejoined(found: dict[str, list[Frame]]) -> dict[str, list[Frame]]:
    """Slices that have a series of their own each, as a Canon scanner may write them, as the one that they are.

    They have in common what a series has, its number too, and lie side by side.
    """
    groups: dict[tuple, list[str]] = {}
    for uid, frames in found.items():
        header, axes = frames[0].header, frames[0].axes
        if len(frames) == 1 and axes is not None and frames[0].position is not None and text(header, "SeriesNumber"):
            same = (*(text(header, keyword) for keyword in _SHARED), *np.round(axes, 3).ravel(), frames[0].spacing)
            groups.setdefault(same, []).append(uid)
    for uids in groups.values():
        frames = [found[uid][0] for uid in uids]
        if len(uids) > 2 and len({round(frame.depth, 2) for frame in frames}) == len(uids):
            found = {uid: slices for uid, slices in found.items() if uid not in uids[1:]} | {uids[0]: frames}
    return found


def _place(path: Path, dataset: Dataset) -> str:
    return f"{path.parent}, number {text(dataset, 'SeriesNumber')}"


def not_fetched(where: object, paths: Sequence[Path]) -> str:
    """The sentence about files whose content isn't there."""
    return (
        f"{where} has {len(paths)} files that are links to nothing, the first {paths[0].name}: their content was not "
        "fetched; get it first (datalad get, git annex get, git lfs pull)."
    )


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise InputError(f"{folder} can't be read: {error.strerror or error}.") from None

    seen = set()
    for root, folders, names in os.walk(folder, onerror=failed, followlinks=True):
        place = os.path.realpath(root)
        if place in seen:  # a link leads back
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        if not recursive:
            folders.clear()
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and (path.is_file() or is_unfetched(path)):
                yield path


def _series(frames: list[Frame], damaged: list[Path], unfetched: list[Path]) -> Series:
    frames = sorted(frames, key=lambda f: (f.depth, number(f.header, "InstanceNumber") or 0, f.index))
    places = {frame.index if frame.position is None else tuple(np.round(frame.position, 2)) for frame in frames}
    header = frames[0].header
    series_number = number(header, "SeriesNumber")
    folders = {frame.file.parent for frame in frames}
    return Series(
        uid=text(header, "SeriesInstanceUID"),
        number=None if series_number is None else int(series_number),
        modality=text(header, "Modality") or "unknown",
        description=text(header, "SeriesDescription") or text(header, "ProtocolName"),
        files=tuple(dict.fromkeys(frame.file for frame in frames)),
        shape=(int(header.Columns), int(header.Rows), len(places)),
        frames=tuple(frames),
        damaged=tuple(path for path in damaged if path.parent in folders),
        unfetched=tuple(path for path in unfetched if path.parent in folders),
    )


def _frames(path: Path, header: Dataset) -> list[Frame]:
    """The slices in a file: one, or those of an enhanced multi-frame image (PS3.3 C.7.6.16)."""
    count = int(number(header, "NumberOfFrames") or 1)
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if len(per_frame) not in (0, count) or count > 100_000:
        raise ValueError("not as many functional groups as frames")
    if count == 1 and not per_frame:
        return [_frame(path, 0, header, [header])]
    shared = header.get("SharedFunctionalGroupsSequence") or []
    if not per_frame:
        return [_frame(path, index, header, []) for index in range(count)]
    return [
        _frame(path, index, header, [*_groups(group), *_groups(*shared[:1]), header])
        for index, group in enumerate(per_frame)
    ]


def _groups(*items: Dataset) -> list[Dataset]:
    """The macros of a functional group: the first item of each sequence in it."""
    return [element.value[0] for item in items for element in item if element.VR == "SQ" and len(element.value)]


def _frame(path: Path, index: int, header: Dataset, places: list[Dataset]) -> Frame:
    def floats(keyword: str, count: int) -> np.ndarray | None:
        for place in places:
            if keyword in place:
                try:
                    vector = np.array([float(v) for v in place[keyword].value])
                except DAMAGE:
                    return None
                return vector if vector.shape == (count,) and np.isfinite(vector).all() else None
        return None

    def first(keyword: str) -> float | None:
        return next((value for value in (number(place, keyword) for place in places) if value is not None), None)

    axes, spacing = floats("ImageOrientationPatient", 6), floats("PixelSpacing", 2)
    if axes is not None:
        axes = axes.reshape(2, 3)
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = axes / lengths if (abs(lengths - 1) < 0.02).all() and abs(axes[0] @ axes[1]) < 0.02 else None
    slope, intercept = first("RescaleSlope"), first("RescaleIntercept")
    kind = next((values(place, key) for place in places for key in ("FrameType", "ImageType") if key in place), ())
    component = next((text(place, "ComplexImageComponent") for place in places if "ComplexImageComponent" in place), "")
    if not component and text(header, "Manufacturer").upper().startswith("GE"):
        component = _GE_IMAGE_TYPES.get(int(number(header, 0x0043102F) or 0), "")

    def moment(keyword: str) -> str:
        return next((text(place, keyword) for place in places if keyword in place), "")

    lasted, echo = first("FrameAcquisitionDuration"), first("EffectiveEchoTime")
    return Frame(
        file=path,
        index=index,
        header=header,
        position=floats("ImagePositionPatient", 3),
        axes=axes,
        spacing=None if spacing is None or spacing.min() <= 0 else (float(spacing[1]), float(spacing[0])),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        echo=first("EchoTime") if echo is None else echo,
        kind=tuple(value.upper() for value in (*kind, *([component] if component in _NOT_MAGNITUDE else []))),
        time=moment("FrameReferenceDateTime"),
        begun=moment("FrameAcquisitionDateTime"),
        lasted=number(header, "ActualFrameDuration") if lasted is None else lasted,
    )


def _is_colour(header: Dataset) -> bool:
    return (number(header, "SamplesPerPixel") or 1) > 1 or text(header, "PhotometricInterpretation") == "PALETTE COLOR"


def _without_contrast(series: Series) -> bool:
    agent = text(series.header, "ContrastBolusAgent").lower()
    return agent in ("", "no", "none") and not is_enhanced(series.description)


def is_enhanced(words: str) -> bool:
    """Whether a description speaks of a contrast agent, other than to say that there was none."""
    words = words.lower()
    return bool(_ENHANCED_BY.search(_NATIVE.sub(" ", words)))


def _uniform(series: Series) -> bool:
    """The uniform image of an MP2RAGE, which is derived, and flat where its parts are shaded."""
    return "UNI" in series.frames[0].kind or bool(_UNI.search(series.description.lower()))


def _denoised(series: Series) -> bool:
    return bool(_DENOISED.search(series.description.lower()))


def _acquired(series: Series) -> bool:
    return series.frames[0].kind[:1] != ("DERIVED",)


def _not_synthetic(series: Series) -> bool:
    return not is_marked(series.header)


def _attenuated(series: Series) -> bool:
    return attenuation_corrected(series.header) is not False and not _NOT_ATTENUATED.search(series.description.lower())


def _static(series: Series) -> bool:
    if text(series.header, "SeriesType").split("\\")[0] in ("DYNAMIC", "GATED"):
        return False
    return len(series.frames) == series.shape[2] and not re.search(r"dyn(amic|$|[ _-])", series.description.lower())


def _thin(series: Series) -> bool:
    depths = [frame.depth for frame in series.frames]
    return (max(depths) - min(depths)) / max(series.shape[2] - 1, 1) <= 2.0


def _listing(found: list[Series], uid: bool = False) -> str:
    most = 20
    names = [f"{s} with UID {s.uid}" if uid else str(s) for s in found[:most]]
    return ", ".join(names) + (f" and {len(found) - most} more" if len(found) > most else "")
