"""The ``authors`` preset computes the function of the authors' program: numbers recorded from it, 2 and 3 levels."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib.flow import FlowConfig
from DualGlowLib.model import DualGlow, ModelConfig, preset
from DualGlowLib.training.optim import AuthorsAdamax

DEPTHS = {"golden_2level.npz": (2, 2), "golden_3level_ddi.npz": (1, 2, 1)}
COMMITTED = Path(__file__).parent / "golden"  # the smallest; see its README
FLOWS = {"m_o": "mri_flow", "m_u": "pet_flow"}


def recorded_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A variable of the recording, made again from its name (the recipe in golden/README.md)."""
    values = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).randn(*shape)
    if name.endswith("invconv/W"):
        values = np.linalg.qr(values)[0]
    elif name.rsplit("/", 1)[-1] in ("b", "logs"):
        values = values * 0.05
    else:
        values = values / np.sqrt(np.prod(shape[:-1]))
    return values.astype(np.float32)


def parameter_name(name: str) -> str:
    """Where a variable of theirs lies in our model, without the edge channel."""
    parts = name.split("/")[1:]
    if parts[0] == "prior_u":
        return "link.nets.{top}.0.weight"
    if parts[1].startswith("pool"):
        return f"link.nets.{int(parts[1][4:]) // 10}.0.weight"
    step = f"{FLOWS[parts[0]]}.levels.{parts[1]}.{parts[2]}"
    rest = parts[3:]
    if rest[0] != "f1":
        return {
            "actnorm_center": f"{step}.actnorm.bias",
            "actnorm_scale": f"{step}.actnorm.log_scale",
            "invconv": f"{step}.mixing.weight",
        }[rest[0]]
    net = f"{step}.coupling.net.{ {'l_1': 0, 'l_2': 2, 'l_last': 4}[rest[1]] }"
    leaf = {"W": "weight", "b": "bias", "logs": "log_scale"}[rest[-1]]
    return f"{net}.{leaf}"


def to_ours(name: str, values: np.ndarray, target: torch.Size) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Their layout (kernels [x,y,z,in,out]) to ours; the last input channel of a 3×3×3 kernel is the edge's."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if name.endswith("invconv/W"):
        return tensor.T.contiguous(), None
    if tensor.dim() == 5 and len(target) == 5 and name.rsplit("/", 1)[-1] in ("W", "filter0"):
        kernel = tensor.permute(4, 3, 0, 1, 2).contiguous()
        if kernel.shape[1] == target[1] + 1:
            return kernel[:, :-1].contiguous(), kernel[:, -1:].contiguous()
        return kernel, None
    return tensor.reshape(target), None


class Recording:
    """One golden file, and our model with its weights."""

    def __init__(self, path: Path) -> None:
        self.data = np.load(path)
        depths = DEPTHS[path.name]
        shape = self.data["x_mri"].shape[1:4]
        flow = FlowConfig(depths, (16,) * len(depths), scale="sigmoid", mixing="dense", edge=True)
        self.config: ModelConfig = replace(preset("authors", (16,) * 3), shape=shape, mri=flow, pet=flow, covariates=())
        self.model = DualGlow(self.config)
        self.names = [str(name) for name in self.data["var_names"]]
        self.where: dict[str, str] = {}
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, text in zip(self.names, self.data["var_shapes"], strict=True):
                shape = tuple(int(n) for n in str(text).strip("[]() ").replace(",", " ").split())
                ours = parameter_name(name).format(top=len(depths) - 1)
                values = recorded_weight(name, shape)
                if f"ddi:{name}" in self.data.files:
                    values = self.data[f"ddi:{name}"]
                weight, edge = to_ours(name, values, parameters[ours].shape)
                parameters[ours].copy_(weight)
                if edge is not None:
                    parameters[ours.replace(".weight", ".edge_weight")].copy_(edge)
                self.where[name] = ours
        self.mri, self.pet = (self.image(key) for key in ("x_mri", "x_pet"))
        self.covariates = torch.zeros(len(self.mri), 0)

    def image(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.data[key]).permute(0, 4, 1, 2, 3).contiguous()


def place_of(name: str, request: pytest.FixtureRequest) -> Path:
    """Of a recording: in the repository, else where the real test data lie; without them the test skips."""
    own = COMMITTED / name
    return own if own.is_file() else request.getfixturevalue("shared") / "golden" / name


@pytest.fixture(scope="module", params=list(DEPTHS))
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(place_of(request.param, request))


@pytest.fixture(params=list(DEPTHS))
def fresh(request: pytest.FixtureRequest) -> Recording:
    """One that a test may change."""
    return Recording(place_of(request.param, request))


def test_the_committed_recording_is_the_one_that_was_made(shared: Path) -> None:
    (own,) = COMMITTED.glob("*.npz")
    assert own.read_bytes() == (shared / "golden" / own.name).read_bytes()
    assert hashlib.sha256(own.read_bytes()).hexdigest() in (COMMITTED / "README.md").read_text(encoding="utf-8")


def test_every_parameter_comes_from_the_recording(recording: Recording) -> None:
    ours = {name for name, _ in recording.model.named_parameters() if "edge_weight" not in name}
    shifts = {name for name in ours if name.startswith("link.shifts")}  # covariates: none recorded
    assert ours - shifts == set(recording.where.values())


def test_latents_and_top_prior(recording: Recording) -> None:
    with torch.no_grad():
        encoding = recording.model.encode(recording.mri)
        law = recording.model.link.decode(encoding.features, recording.covariates)
        pet, _ = recording.model.pet_latents(recording.pet, law)
    for level, (mine_m, mine_p) in enumerate(zip(encoding.latents, pet, strict=True)):
        torch.testing.assert_close(mine_m, recording.image(f"z_m_{level}"), rtol=0, atol=6e-6)
        torch.testing.assert_close(mine_p, recording.image(f"z_p_{level}"), rtol=0, atol=6e-6)
    torch.testing.assert_close(law.means[-1], recording.image("top_mean_prior_u"), rtol=0, atol=6e-6)
    assert not recording.data["top_logsd_prior_u"].any()
    assert not law.log_sigmas[-1].any()


def test_objective_and_gradients(recording: Recording) -> None:
    model, data = recording.model, recording.data
    model.zero_grad()
    objective = model(recording.pet, recording.mri, recording.covariates)
    mine = torch.stack([objective.loss, objective.pet_bits, objective.mri_bits], 1).mean(0)
    torch.testing.assert_close(mine, torch.from_numpy(data["stats"][:3]), rtol=1e-6, atol=0)

    objective.loss.mean().backward()
    parameters = dict(model.named_parameters())
    for name, l2, total in zip(data["grad_names"], data["grad_l2"], data["grad_sum"], strict=True):
        ours = recording.where[str(name)]
        gradients = [parameters[ours].grad]
        if (edge := ours.replace(".weight", ".edge_weight")) != ours and edge in parameters:
            gradients.append(parameters[edge].grad)
        norm = float(torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt())
        assert norm == pytest.approx(float(l2), rel=2e-4), name
        mine_sum = float(sum(g.double().sum() for g in gradients))
        assert mine_sum == pytest.approx(float(total), rel=2e-3, abs=2e-4 * float(l2) * 4), name


def test_temperature_zero_sample(fresh: Recording) -> None:
    """In float64, so that our own rounding, which changes with the number of threads, stays out of the comparison."""
    model = fresh.model.double()
    with torch.no_grad():
        encoding = model.encode(fresh.mri.double())
        sample = model.sample(encoding, fresh.covariates.double(), temperature=0.0)
    raw = (sample - 0.5) * 255 + 127.5
    expected = fresh.image("sample_T0_raw255").double()
    torch.testing.assert_close(raw, expected, rtol=0, atol=3e-4)


def test_data_dependent_initialisation(shared: Path) -> None:
    """One pass over the batch gives the stored biases and log-scales."""
    recording = Recording(shared / "golden" / "golden_3level_ddi.npz")
    parameters = dict(recording.model.named_parameters())
    set_from_data = [name for name in recording.names if f"ddi:{name}" in recording.data.files]
    stored = {name: parameters[recording.where[name]].detach().clone() for name in set_from_data}
    assert len(stored) == 48
    with torch.no_grad():
        for name in stored:
            parameters[recording.where[name]].zero_()
    recording.model.initialize(recording.pet, recording.mri, recording.covariates)
    for name, expected in stored.items():
        torch.testing.assert_close(parameters[recording.where[name]].detach(), expected, rtol=1e-4, atol=2e-5)


def test_training_steps(fresh: Recording) -> None:
    # Their second decay is 1 − 1/(iterations per epoch), and they recorded with 726 cases in batches of 2.
    optimizer = AuthorsAdamax(fresh.model.parameters(), lr=1e-3, betas=(0.9, 1 - 2 / 726))
    for expected in fresh.data["train_stats"]:
        objective = fresh.model(fresh.pet, fresh.mri, fresh.covariates)
        mine = torch.stack([objective.loss, objective.pet_bits, objective.mri_bits], 1).mean(0).detach()
        torch.testing.assert_close(mine, torch.from_numpy(expected[:3]), rtol=5e-6, atol=0)
        optimizer.zero_grad()
        objective.loss.mean().backward()
        optimizer.step()
