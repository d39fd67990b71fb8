"""Pictures of one scan: is the brain where the preparation says, and does the PET lie on its T1?"""

from __future__ import annotations

import numpy as np

from ..atlas.template import load_template
from ..preparation.pet import PreparedPet
from ..preparation.t1 import Prepared
from ..volumes.affines import apply_affine, from_matvec
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from .drawing import blend, edge_line, grey, heat, iso_line, text_size, write_text

__all__ = ["noted", "overlay_picture", "pet_picture", "t1_picture"]

_T1 = (0.75, np.array([96.0, 116.0, 104.0]))  # millimetres: pixel, and half of what is shown along x, y, z
_PET = (0.65, np.array([84.0, 104.0, 92.0]))
TEMPLATE, PATIENT, PET = (255, 70, 60), (70, 190, 255), (255, 170, 0)  # colours of the lines

_CAPTION = 24  # pixels of the line above
_BACKGROUND = 0.1  # SUVR below which a PET is drawn as nothing

_CENTRE = np.array([0.0, -17.0, 5.0])  # of the template's brain, RAS+ millimetres
# Views: the axis that runs across, the one that runs down (both towards lower values), the one looked along, where
# the three slices lie (template millimetres), and what is left and right in the picture. Radiological convention: the
# patient's right is on the picture's left.
_VIEWS = (
    (0, 1, 2, (-26.0, 8.0, 42.0), "RL"),
    (0, 2, 1, (-65.0, -20.0, 25.0), "RL"),
    (1, 2, 0, (-32.0, 0.0, 32.0), "AP"),
)


def t1_picture(prepared: Prepared) -> np.ndarray:
    """Nine slices of the patient's T1 with the outlines of the template's brain (red) and of the brain mask (blue).

    The head is shown upright, as the registration found it, in the patient's own millimetres; the patient's right is
    on the picture's left (radiological convention), in sagittal slices the face looks to the left.

    Returns:
        uint8, rows × columns × 3.
    """
    scan, brain = prepared.scan, load_template().mask
    upright, back = _upright(prepared.to_template), prepared.warp and prepared.warp.back
    low, high = _window(scan, prepared.patient_mask)
    rows: list[list[np.ndarray]] = [[], [], []]
    for view in _VIEWS:
        shape, lattice = _slices(view, *_T1)
        place = upright @ lattice
        t1 = _shown(scan, shape, place)
        mine = resample(prepared.patient_mask, scan.affine, shape, place, antialias=False)
        theirs = resample(brain.data, brain.affine, shape, prepared.to_template @ place, antialias=False, warp=back)
        for number in range(3):
            panel = grey(t1[..., number].T, low, high)
            blend(panel, 0.85 * iso_line(mine[..., number].T, 0.5, 1.2), PATIENT)
            blend(panel, iso_line(theirs[..., number].T, 0.5, 1.8), TEMPLATE)
            _mark(panel, view[4])
            rows[number].append(panel)
    legend = (("template brain", TEMPLATE), ("brain mask", PATIENT))
    return _captioned(_mounted(rows), "T1", legend)


def pet_picture(prepared: Prepared, pet: PreparedPet) -> np.ndarray:
    """The PET's edges over the T1 (left), and the SUVR on the grid (right), nine slices each, as in ``t1_picture``.

    The edges (orange) are where the PET is steepest: on a PET that lies right they follow the cortex and its border
    with the skull, and leave none of the T1's brain mask (thin blue) on one side. Right: the SUVR in template space
    with the outline of the patient's brain mask on the grid.

    Returns:
        uint8, rows × columns × 3.
    """
    scan, grid = prepared.scan, prepared.grid
    upright, to_pet = _upright(prepared.to_template), np.linalg.inv(pet.pet_to_t1)
    low, high = _window(scan, prepared.patient_mask)
    inside = pet.suvr[prepared.mask]
    top = float(np.percentile(inside, 99.5)) if inside.size else 1.0
    cortex = pet.reference_value * (float(np.percentile(inside, 90)) if inside.size else 1.0)
    soft = _softened(pet.scan)
    over: list[list[np.ndarray]] = [[], [], []]
    alone: list[list[np.ndarray]] = [[], [], []]
    for view in _VIEWS:
        shape, lattice = _slices(view, *_PET)
        place = upright @ lattice
        t1 = _shown(scan, shape, place)
        mine = resample(prepared.patient_mask, scan.affine, shape, place, antialias=False)
        uptake = _shown(soft, shape, to_pet @ place)
        lattice[:3, 3] += _CENTRE
        suvr = _shown(Scan(pet.suvr, grid.affine), shape, lattice)
        mask = resample(prepared.mask, grid.affine, shape, lattice, antialias=False)
        for number in range(3):
            panel = grey(t1[..., number].T, low, high)
            blend(panel, 0.7 * iso_line(mine[..., number].T, 0.5, 1.0), PATIENT)
            blend(panel, edge_line(uptake[..., number].T, 0.03 * _PET[0] * cortex, 1.6), PET)
            _mark(panel, view[4])
            over[number].append(panel)
            panel = heat(suvr[..., number].T, top)
            blend(panel, 0.7 * iso_line(mask[..., number].T, 0.5, 1.0), PATIENT)
            _mark(panel, view[4])
            alone[number].append(panel)
    left = _captioned(_mounted(over), "PET edges on T1", (("PET edges", PET), ("brain mask", PATIENT)))
    right = _captioned(_mounted(alone), f"SUVR ({pet.reference}), 0 to {top:.1f}", (("brain mask", PATIENT),))
    _scale(right, top)
    return np.concatenate([left, np.full((left.shape[0], 6, 3), 60, np.uint8), right], axis=1)


def noted(picture: np.ndarray, note: str) -> np.ndarray:
    """With a sentence in a line below, or in several where it is too long for one; as it is if there is none."""
    if not note:
        return picture
    lines, width = [""], picture.shape[1] - 12
    for word in note.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if text_size(longer)[1] <= width else [*lines, word]
    below = np.zeros((_CAPTION * len(lines), picture.shape[1], 3), np.uint8)
    for number, line in enumerate(lines):
        write_text(below, line, _CAPTION * number + (_CAPTION - text_size(line)[0]) // 2, 6)
    return np.concatenate([picture, below])


def overlay_picture(
    t1: Scan,
    pet: Scan,
    to_template: np.ndarray | None = None,
    high: float = 2.5,
    title: str = "SYNTHETIC FDG on T1",
    opacity: float = 0.6,
) -> np.ndarray:
    """The T1 (left), and the same nine slices with a PET in colours over it (right), as in ``t1_picture``.

    Args:
        t1: the patient's T1.
        pet: SUVR on the T1's lattice, 0 outside the brain.
        to_template: 4×4, the T1's RAS to the template's, by which the head is shown upright; None shows it as it lies.
        high: SUVR at the upper end of the colours.
        title: above the right half.
        opacity: of the PET, where it is above 0.1.

    Returns:
        uint8, rows × columns × 3.
    """
    inside = pet.data > _BACKGROUND
    if to_template is None:
        middle = np.argwhere(inside).mean(0) if inside.any() else (np.array(pet.shape) - 1) / 2
        to_template = from_matvec(np.eye(3), _CENTRE - apply_affine(pet.affine, middle))
    upright = _upright(np.asarray(to_template, float))
    low, top = _window(t1, inside)
    alone: list[list[np.ndarray]] = [[], [], []]
    over: list[list[np.ndarray]] = [[], [], []]
    for view in _VIEWS:
        shape, lattice = _slices(view, *_PET)
        anatomy = _shown(t1, shape, upright @ lattice)
        uptake = resample(pet.data, pet.affine, shape, upright @ lattice, antialias=False)
        for number in range(3):
            panel = grey(anatomy[..., number].T, low, top)
            suvr = uptake[..., number].T
            alpha = opacity * np.clip(suvr / _BACKGROUND - 0.5, 0, 1)[..., None]
            coloured = panel + alpha * (heat(suvr, high) - panel)
            for panels, image in ((alone, panel), (over, coloured)):
                _mark(image, view[4])
                panels[number].append(image)
    left = _captioned(_mounted(alone), "T1", ())
    right = _captioned(_mounted(over), f"{title}, SUVR 0 to {high:.1f}", ())
    _scale(right, high)
    return np.concatenate([left, np.full((left.shape[0], 6, 3), 60, np.uint8), right], axis=1)


def _upright(to_template: np.ndarray) -> np.ndarray:
    """4×4: millimetres about the brain's middle along the template's axes to patient millimetres, without stretch."""
    back = np.linalg.inv(to_template)
    left, _, right = np.linalg.svd(back[:3, :3])
    return from_matvec(left @ right, apply_affine(back, _CENTRE))  # a reflection, if there is one, is shown as it is


def _slices(view: tuple, pixel: float, half: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (across, down, slice) of a view's three slices, and 4×4 from indices to millimetres about the middle."""
    across, down, along, levels, _ = view
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[across, 0] = affine[down, 1] = -pixel
    affine[along, 2] = levels[1] - levels[0]
    affine[[across, down], 3] = half[[across, down]]
    affine[along, 3] = levels[0] - _CENTRE[along]
    return (round(2 * half[across] / pixel) + 1, round(2 * half[down] / pixel) + 1, 3), affine


def _shown(scan: Scan, shape: tuple[int, int, int], place: np.ndarray) -> np.ndarray:
    """Slices of a scan, smoothly interpolated where its voxels are large, without overshoot."""
    order = 1 if scan.spacing.max() < 1.3 else 3
    data = resample(scan.data, scan.affine, shape, place, order=order, antialias=False)
    return np.clip(data, scan.data.min(), scan.data.max())


def _softened(pet: Scan) -> Scan:
    """A PET in voxels of 5 mm at least, blurred as much: so that edges are the brain's and not the noise's."""
    step = np.maximum(np.round(5.0 / pet.spacing, 6), 1.0)
    shape = tuple(int(n) for n in np.maximum(np.ceil(np.array(pet.shape) / step), 1))
    affine = pet.affine @ np.diag([*step, 1.0])
    return Scan(resample(pet.data, pet.affine, shape, affine), affine)


def _window(scan: Scan, mask: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(scan.data[mask] if mask.any() else scan.data, (0.5, 99.5))
    return float(min(low, np.percentile(scan.data, 2))), float(high * 1.1)


def _mark(panel: np.ndarray, sides: str) -> None:
    height, width = text_size(sides[1])
    row = (panel.shape[0] - height) // 2
    write_text(panel, sides[0], row, 4)
    write_text(panel, sides[1], row, panel.shape[1] - width - 4)


def _mounted(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Panels of one row side by side, black where one is lower than its neighbour."""
    height = max(panel.shape[0] for row in rows for panel in row)
    lines = []
    for row in rows:
        spare = [height - panel.shape[0] for panel in row]
        padded = [np.pad(p, ((s // 2, s - s // 2), (0, 0), (0, 0))) for p, s in zip(row, spare, strict=True)]
        lines.append(np.concatenate(padded, axis=1))
    return np.rint(np.concatenate(lines)).clip(0, 255).astype(np.uint8)


def _captioned(picture: np.ndarray, title: str, legend: tuple) -> np.ndarray:
    """With a line above: what it is, and what the colours of the lines mean."""
    line = np.zeros((_CAPTION, picture.shape[1], 3), np.uint8)
    row = (_CAPTION - text_size(title)[0]) // 2
    write_text(line, title, row, 6)
    column = picture.shape[1] - 6
    for name, colour in reversed(legend):
        column -= text_size(name)[1]
        write_text(line, name, row, column, colour=colour)
        column -= 24
    return np.concatenate([line, picture])


def _scale(picture: np.ndarray, top: float) -> None:
    """A bar of the heat scale at the lower right, with its ends named."""
    length, row = 160, picture.shape[0] - 18
    column = picture.shape[1] - length - 50
    picture[row : row + 10, column : column + length] = heat(np.linspace(0, top, length)[None], top)
    height, width = text_size("0")
    row += (10 - height) // 2
    write_text(picture, "0", row, column - width - 5)
    write_text(picture, f"{top:.1f}", row, column + length + 5)
