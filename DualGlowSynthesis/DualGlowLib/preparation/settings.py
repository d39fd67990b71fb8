"""The choices in a preparation, in one object that goes from a cohort's cases to the model and to new scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..atlas.reference import REFERENCES
from ..errors import InputError
from ..values import bounded, check_fields, with_values
from ..volumes.dynamic.times import WINDOW

__all__ = ["Preparation"]


@dataclass(frozen=True)
class Preparation:
    """How scans are prepared. A model wants new ones prepared like those that it learned from.

    Attributes:
        bias: whether T1s are corrected for shading.
        deformable: whether a deformation follows the affine to the template.
        reference: region that SUVR is relative to, one of ``REFERENCES``.
        resolution: full width at half maximum in millimetres that PETs are smoothed to, where their own is known.
        pet_window: minutes after injection, from and to, of which the frames of a dynamic PET are averaged.

    Raises:
        InputError: for a value of another type, an unknown region, a resolution that is none of a PET, or a window that
            ends before it begins.
    """

    bias: bool = True
    deformable: bool = False
    reference: str = REFERENCES[0]
    resolution: float = 8.0
    pet_window: tuple[float, float] = bounded(WINDOW, -60, 600)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.reference not in REFERENCES:
            raise InputError(f"There is no reference region {self.reference!r}; choose one of {', '.join(REFERENCES)}.")
        if not 0 < self.resolution < 30:
            raise InputError(f"The PET resolution must be between 0 and 30 mm, not {self.resolution:g}.")
        first, last = self.pet_window
        if not first < last:
            raise InputError(f"The PET window must end after it begins, not go from {first:g} to {last:g} min.")

    def to_dict(self) -> dict:
        """Fit for JSON. Cohorts are recognised by it, so an option that came later is named only when it is used."""
        values, usual = asdict(self) | {"pet_window": list(self.pet_window)}, Preparation()
        unused = {name for name in ("deformable", "pet_window") if getattr(self, name) == getattr(usual, name)}
        return {name: value for name, value in values.items() if name not in unused}

    @classmethod
    def from_dict(cls, values: Mapping, where: str) -> Preparation:
        """From ``to_dict``, also of an older DualGlow; what is left out or null is as it is by default.

        Args:
            values: by the names of the attributes.
            where: what to name in errors.

        Raises:
            InputError: for an unknown name or a value that can't be used.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"{where}: the preparation must be an object of settings, not {values!r}.")
        return with_values(cls(), {name: value for name, value in values.items() if value is not None}, where)
