"""Write what is computed from the template alone (``DualGlowLib/atlas/derived.py``), after a change of either.

python Testing/support/derive_template.py
"""

from __future__ import annotations

import numpy as np

from DualGlowLib.atlas.derived import FILE, sparse
from DualGlowLib.atlas.regions import compute_weights
from DualGlowLib.preparation.affine import compute_template_brain
from DualGlowLib.preparation.quality import compute_tissues
from DualGlowLib.resources import resource
from DualGlowLib.volumes.grid import GRIDS


def everything() -> dict[str, dict[str, np.ndarray]]:
    """All that ships, by name: a bundled model's grid has its regions."""
    brain = compute_template_brain()
    shape, affine, tissues = compute_tissues()
    parts = {f"{name}_{key}": value for name in ("t1", "mask") for key, value in sparse(getattr(brain, name)).items()}
    return {
        "brain": {**parts, "affine": brain.affine, "frame": brain.frame},
        "tissues": {"shape": np.array(shape), "affine": affine, "tissues": np.packbits(np.stack(tissues))},
        "weights-medium": sparse(compute_weights(GRIDS["medium"])),
    }


if __name__ == "__main__":
    arrays = {f"{name}.{key}": array for name, found in everything().items() for key, array in found.items()}
    np.savez_compressed(resource("Template") / FILE, **arrays)
