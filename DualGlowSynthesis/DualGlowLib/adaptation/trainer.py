"""A run that begins with a trained model, most of which stays as it is."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from ..bundle.bundle import Bundle
from ..model import DualGlow
from ..model.link import UNetLink
from ..training.data import T1_SCALE, Cohort
from ..training.loop import Trainer

__all__ = ["AdaptingTrainer", "refitted"]

_LAST = ("image", "heads", "contexts", "amplitudes", "loadings", "top_log_sigma")
"""Parts of a U-Net link that give its laws; the others make features of the MRI."""

_LEVELWISE = ("shifts", "scales", "top", "learned")


def refitted(model: DualGlow) -> set[str]:
    """Names of the parameters that a site's cases may change: ActNorms of both flows, and the link's last layers.

    Couplings and mixings, which hold nearly all of what was learned, stay: twenty cases would be learned by heart.
    """
    if isinstance(model.link, UNetLink):
        last = tuple(f"link.{name}" for name in _LAST)
    else:
        ends = (f"link.nets.{i}.{len(net) - (2 if model.link.config.authors else 1)}." for i, net in _nets(model))
        last = (*ends, *(f"link.{name}" for name in _LEVELWISE))
    return {
        name
        for name, _ in model.named_parameters()
        if name.startswith(last) or (name.startswith(("mri_flow.", "pet_flow.")) and ".actnorm." in name)
    }


def _nets(model: DualGlow) -> list[tuple[int, nn.Sequential]]:
    return list(enumerate(model.link.nets))


class AdaptingTrainer(Trainer):
    """A run of ``refitted`` alone, from the weights of a bundle on; its result is not written but returned.

    Args:
        folder: of the run.
        parent: the bundle to begin with; its scales are those that the cases are to be seen with.
        train, validation: the cases, with the parent's ``pet_scale``.
        **others: of ``Trainer``.
    """

    def __init__(self, folder: Path, parent: Bundle, settings, train: Cohort, validation: Cohort, device, **others):
        self.parent = parent
        super().__init__(folder, parent.config, settings, parent.grid, train, validation, device, **others)

    def build(self) -> DualGlow:
        model = DualGlow(self.config)
        model.load_state_dict(self.parent.model.state_dict())
        names = refitted(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        return model

    def start(self) -> None:
        self.joint = not (self.settings.image_share and self.model.link_has_image)

    def begin_joint(self) -> None:
        self.joint = True
        self._begin_anew()

    def _tensors(self, *batch: object) -> tuple[torch.Tensor, ...]:
        pet, mri, covariates = super()._tensors(*batch)
        return pet, mri * (T1_SCALE / self.parent.t1_scale), covariates

    def _bundle(self) -> Bundle:
        about = {"steps": self.step, "batch": self.settings.batch, "seconds": round(self.seconds)}
        about |= {"device": self.device.type, "skipped_steps": self.skipped}
        bits = {key: round(value, 4) for key, value in self.bits.items() if math.isfinite(value)}
        parent = self.parent
        scales = parent.t1_scale, parent.pet_scale
        return Bundle(self.average.model.cpu(), parent.grid, *scales, parent.name, {**about, **bits})
