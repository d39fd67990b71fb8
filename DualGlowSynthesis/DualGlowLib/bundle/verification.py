"""Whether a bundle is whole and does what a model must: every checksum, every number, and a try with the template."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..atlas.template import load_template
from ..errors import InputError
from ..model import encode_covariates
from ..preparation.intensity import normalise_t1
from ..volumes.grid import Grid
from ..volumes.resampling import resample
from .bundle import Bundle, load_bundle
from .evaluation import read_evaluation

__all__ = ["template_t1", "verify_bundle"]

_LARGEST_ERROR = 0.01  # of images that span 0 to 1; float32 and float16 weights leave 1e-4


@torch.no_grad()
def verify_bundle(folder: Path | str, bundle: Bundle | None = None) -> dict:
    """Check a bundle: what is read is whole and finite, and both flows give back the image that they were given.

    Args:
        folder: of the bundle.
        bundle: what ``load_bundle`` gave of it, if that was done.

    Returns:
        ``name``, ``sha256``, and ``t1_error`` and ``pet_error``: the largest difference after an image went through
        its flow and back, the template's T1 and a PET drawn for it, both in units of 0 to 1.

    Raises:
        InputError: in one sentence, what is wrong.
    """
    folder = Path(folder)
    bundle = bundle or load_bundle(folder)
    read_evaluation(folder, bundle.digest)
    model, t1 = bundle.model, _image(bundle)
    latents, _ = model.mri_flow(t1 - 0.5)
    law = model.link.decode(model.link.encode(latents), encode_covariates(bundle.config.covariates, [{}]))
    encoding, nobody = model.encode(t1), t1.new_zeros(1, 0)
    pet = model.sample(encoding, nobody, 1.0, torch.Generator().manual_seed(0), law=law)
    pairs = {
        "t1": (t1, model.mri_flow.inverse(latents) + 0.5),
        "pet": (pet, model.pet_from_latents(model.pet_latents(pet, law)[0], law)),
    }
    errors = {f"{name}_error": float((back - image).abs().max()) for name, (image, back) in pairs.items()}
    for name, error in errors.items():
        if not error < _LARGEST_ERROR:  # nor what is not finite
            raise InputError(
                f"{folder} is no sound model: through its flow and back, the {name[: -len('_error')].upper()} of the "
                f"template comes out with an error of {error:.3g} of its range; get the model again, or train it anew."
            )
    return {"name": bundle.name, "sha256": bundle.digest, **errors}


def template_t1(grid: Grid) -> np.ndarray:
    """The template's T1 on a grid, prepared, ``[x, y, z]``."""
    template = load_template().t1
    data = resample(template.data, template.affine, grid.shape, grid.affine)
    return normalise_t1(data, data > 0)


def _image(bundle: Bundle) -> torch.Tensor:
    """The template's T1 as the model is given one; a ramp for a model of photos."""
    config = bundle.config
    if config.dims == 2:
        return torch.linspace(0, 1, config.voxels).reshape(1, 1, *config.shape).repeat(1, config.channels[0], 1, 1)
    return torch.from_numpy(template_t1(bundle.grid)).reshape(1, 1, *config.shape) / bundle.t1_scale
