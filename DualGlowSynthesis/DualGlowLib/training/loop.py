"""The training loop: steps, validation, checkpoints, resume, the bundle at the end."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

from ..bundle.bundle import Bundle, check_bundle_folder, save_bundle, unsound_tensor
from ..bundle.card import model_card
from ..errors import InputError
from ..files import make_folder, remove_temporary, unusable, write_whole
from ..flow import set_memory
from ..locks import only_one
from ..model import DualGlow, ModelConfig, Objective, encode_covariates, hide_covariates
from ..volumes.grid import Grid
from .checkpoints import OLD, Checkpoints, optimizer_parts, read_old, restore_optimizer
from .data import T1_SCALE, Cohort
from .optim import AuthorsAdamax
from .pace import Pace, spoken
from .settings import TrainingSettings
from .status import HISTORY, LOCK, Interrupted

__all__ = ["Interrupted", "Trainer", "begin_run", "check_free", "check_run", "hold_run"]

_OUTLIER = 20.0
_TIMED = 3  # steps after which a run says how long it will take
_SHORT = 30.0  # seconds; of a shorter run nothing is said
_PATIENCE = 0.2  # seconds between looks at the wish to go on
_LOST = 25  # steps skipped in a row after which the weights themselves must be at fault
_BUNDLE = "bundle"
_FIRST = b'{"step": '  # of each line of a history
# Settings that a run may be resumed with others of.
_FREE = {"checkpoint_every", "validate_every", "steps", "memory", "licence"}
_COUNTERS = ("step", "skipped", "lost", "joint", "since", "seconds")


def check_run(folder: Path | str, resume: bool) -> None:
    """Refuse a folder that a run can't begin or go on in, before anything is read or computed.

    Raises:
        InputError: if it holds a run or a model already and ``resume`` is off, no run and it is on, or a file that the
            run would replace and that is not a run's.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the run.")
    bundle = folder / _BUNDLE
    has_model = bundle.exists() and (not bundle.is_dir() or any(bundle.iterdir()))
    is_saved = Checkpoints(folder).exist() or (folder / OLD).is_file()
    history = folder / HISTORY
    if foreign := Checkpoints(folder).foreign() or (None if is_saved else _foreign_history(history)):
        raise InputError(
            f"{foreign} is no part of a run, which would replace it; move it away, or give another folder."
        )
    is_begun = history.exists()
    if has_model and not is_saved:
        raise InputError(f"{folder} has a model but no checkpoint to resume from; give another folder.")
    if not resume:
        if is_saved or (is_begun and history.stat().st_size):  # nothing is lost of one without a step
            raise InputError(f"{folder} holds a run already; go on with --resume or give another folder.")
        return
    if not is_saved and not is_begun:
        raise InputError(f"{folder} has no run to resume from; start without --resume.")
    check_bundle_folder(bundle)


def _foreign_history(history: Path) -> Path | None:
    """The file, if it isn't a history, or the beginning of one."""
    if not history.is_file():
        return None
    with history.open("rb") as file:
        head = file.read(len(_FIRST))
    return None if _FIRST.startswith(head) else history


def check_free(folder: Path | str) -> None:
    """Refuse a folder in which another process trains, before anything is prepared for a run there.

    Raises:
        InputError: if one does, or the folder can't be written.
    """
    if Path(folder).is_dir():
        with hold_run(folder):
            pass


def hold_run(folder: Path | str) -> AbstractContextManager[None]:
    """Keep all other processes from training into a folder, which is made.

    Raises:
        InputError: if one does, or the folder can't be written.
    """
    return only_one(Path(folder) / LOCK, f"training into {folder}")


def begin_run(folder: Path | str) -> None:
    """From now on there is a run to resume in the folder, which is made; what is there stays.

    Raises:
        InputError: if the folder can't be written.
    """
    make_folder(Path(folder))
    if not (history := Path(folder) / HISTORY).exists():
        write_whole(history, "", force=True)


def _parts(objective: Objective) -> dict[str, torch.Tensor]:
    """What of an objective is recorded, by its name in the history."""
    found = {f"discriminator_{name}": loss for name, loss in objective.discriminators.items()}
    return {"loss": objective.loss, "pet_bits": objective.pet_bits, "mri_bits": objective.mri_bits, **found}


def _bits(event: dict) -> dict[str, float]:
    """What a bundle states of the last step; a batch that was skipped may have no number."""
    return {key: value for key, value in event.items() if key.endswith("bits") and math.isfinite(value)}


class _Average:
    """Exponential moving average of a model's parameters; starts fast, so that early steps are forgotten."""

    def __init__(self, model: DualGlow, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: DualGlow, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)


class Trainer:
    """One run in one folder: the last two checkpoints, ``history.jsonl`` and, at the end, ``bundle/``.

    Everything random in a step comes from the seed and the step's number, so a resumed run takes the very steps that
    it would have taken, wherever its process was killed; there is no state of a random generator to keep. A run may
    also be resumed with another number of steps, to make it longer or shorter; the learning rate then follows the
    cosine of that number. While a process works in the folder, others are refused.

    Args:
        folder: of the run.
        config: the model.
        settings: how to train.
        grid: the lattice that the cohorts lie on.
        train, validation: the cases; ``validation`` may be empty.
        device: where to compute.
        report: called with a dict for every step and validation (``step``, ``loss``, ``pet_bits``, …).
        stop: asked before every step; when it returns True the run is saved and ``Interrupted`` raised.
        about: what the bundle should say of its cases besides their number (``simulated``, ``notes``).
        note: called with what the user should know: how long the run will take, or where one that is resumed goes on
            otherwise than one would think.
        pause: asked before every step; while it returns True the run, which is saved, waits.

    Attributes:
        pace: what steps take here; None before the first of them were timed.
    """

    def __init__(
        self,
        folder: Path,
        config: ModelConfig,
        settings: TrainingSettings,
        grid: Grid,
        train: Cohort,
        validation: Cohort,
        device: torch.device | str = "cpu",
        report: Callable[[dict], None] | None = None,
        stop: Callable[[], bool] | None = None,
        about: dict | None = None,
        note: Callable[[str], None] | None = None,
        pause: Callable[[], bool] | None = None,
    ) -> None:
        self.folder, self.config, self.settings, self.grid = Path(folder), config, settings, grid
        self.train_cases, self.validation_cases = train, validation
        self.device = torch.device(device)
        self.report = report or (lambda event: None)
        self.stop = stop or (lambda: False)
        self.about = dict(about or {})
        self.note = note or (lambda sentence: None)
        self.pause = pause or (lambda: False)
        self.pace: Pace | None = None
        self._durations: list[float] = []  # of steps that this process has taken, the first left out
        self.step = self.skipped = 0
        self.joint = True  # whether the PET's flow is trained
        self.since = 0  # the step at which the learning rate began to rise
        self.lost = 0  # steps skipped in a row
        self.usual = math.inf  # norm of the gradient, averaged over the last steps
        self.seconds = 0.0
        self.bits: dict[str, float] = {}  # per dimension, at the last step
        self._checkpoints = Checkpoints(self.folder)
        torch.manual_seed(settings.seed)
        self.model = self._placed(self.build())
        set_memory(self.model, settings.memory)
        self.average = _Average(self.model, settings.ema)
        self.optimizer = self._optimizer()

    def build(self) -> DualGlow:
        """The model as the run begins with it; what needs no gradient stays as it is."""
        return DualGlow(self.config)

    def _placed(self, model: DualGlow) -> DualGlow:
        # oneDNN has a layout of its own, into which it brings plain weights at half the cost of others.
        if self.device.type == "cpu" and self.config.dims == 3:
            return model
        layout = torch.channels_last_3d if self.config.dims == 3 else torch.channels_last
        return model.to(self.device, memory_format=layout)

    def _optimizer(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if self.settings.optimizer == "authors":
            return AuthorsAdamax(trained, lr=self.settings.learning_rate)
        if self.settings.optimizer == "adamax":
            return torch.optim.Adamax(trained, lr=self.settings.learning_rate)
        return torch.optim.Adam(trained, lr=self.settings.learning_rate, betas=(0.9, 0.99))

    # ---- one step

    def _generator(self, step: int, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.settings.seed * 1_000_003 + step) * 16 + stream)

    def _indices(self, step: int) -> list[int]:
        """Cases of a step: every epoch is one shuffle of the cohort."""
        count, batch = len(self.train_cases), min(self.settings.batch, len(self.train_cases))
        per_epoch = count // batch
        order = torch.randperm(count, generator=self._generator(step // per_epoch, 0))
        start = step % per_epoch * batch
        return order[start : start + batch].tolist()

    def _tensors(self, cohort: Cohort, indices: list[int], step: int, augment: bool) -> tuple[torch.Tensor, ...]:
        batch = cohort.batch(indices, self._generator(step, 1) if augment else None)
        pet, mri = self.model.add_noise(batch.pet, batch.mri, self._generator(step, 2))
        covariates = encode_covariates(self.config.covariates, batch.covariates)
        return pet.to(self.device), mri.to(self.device), covariates.to(self.device)

    def _learning_rate(self, step: int) -> float:
        settings = self.settings
        rise = min(1.0, (step - self.since + 1) / max(1, settings.warmup))
        done = max(0, step - settings.warmup) / max(1, settings.steps - settings.warmup)
        return settings.learning_rate * rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def _gradients(self, joint: bool) -> Objective:
        """The objective of the present step, and its gradients at the weights."""
        pet, mri, known = self._tensors(self.train_cases, self._indices(self.step), self.step, augment=True)
        share, stream = self.settings.covariate_dropout, self._generator(self.step, 4)
        visible = hide_covariates(self.config.covariates, known, share, stream)
        objective = self.model(pet, mri, visible, known, self.step / self.settings.steps, not joint)
        self.optimizer.zero_grad(set_to_none=True)
        objective.loss.mean().backward()
        return objective

    def _take_step(self) -> dict:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(self.step)
        objective = self._gradients(self.joint)
        loss = objective.loss.mean()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        # One case that the model finds all but impossible has a gradient thousands of times the usual; even clipped it
        # points nowhere good.
        size, limit = norm.item(), _OUTLIER * self.usual
        if torch.isfinite(loss) and size < limit:
            self.optimizer.step()
            self.average.update(self.model, self.step)
            self.lost = 0
        else:
            self.skipped += 1
            self.lost += 1
            if self.lost == _LOST:
                self._begin_anew()
        if math.isfinite(size):
            # Cut off, so that one case moves it little; large gradients that stay are taken as usual in a few steps.
            self.usual = size if math.isinf(self.usual) else 0.95 * self.usual + 0.05 * min(size, limit)
        numbers = {key: value.mean().item() for key, value in _parts(objective).items()}
        return {**numbers, "gradient": size}

    @torch.no_grad()
    def validate(self) -> dict:
        """Mean loss, its parts and bits per dimension of the averaged model on the validation cases."""
        sums: dict[str, float] = {}
        count, batch = len(self.validation_cases), self.settings.batch
        for start in range(0, count, batch):
            objective = self._validation(list(range(start, min(count, start + batch))))
            for key, value in _parts(objective).items():
                sums[key] = sums.get(key, 0.0) + value.sum().item()
        return {f"validation_{key}": value / count for key, value in sums.items()}

    @torch.no_grad()
    def _validation(self, indices: list[int]) -> Objective:
        pet, mri, covariates = self._tensors(self.validation_cases, indices, indices[0], augment=False)
        return self.average.model(pet, mri, covariates, image_only=not self.joint)

    def measure(self) -> Pace:
        """What the steps that are to come take, from trials that change nothing of the run.

        To be called after some steps, whose time beyond their gradients is added.
        """
        kinds = [True] if self.joint else [False, True]
        gradients = {
            joint: min(self._timed(lambda joint=joint: self._gradients(joint)) for _ in "12") for joint in kinds
        }
        self.optimizer.zero_grad(set_to_none=True)
        rest = max(0.0, min(self._durations, default=0.0) - gradients[self.joint])
        held_out = 0.0
        if count := len(self.validation_cases):
            first = list(range(min(count, self.settings.batch)))
            held_out = self._timed(lambda: self._validation(first)) * count / len(first)
        steps = {joint: seconds + rest for joint, seconds in gradients.items()}
        return Pace(steps.get(False, 0.0), steps[True], held_out)

    def _timed(self, work: Callable[[], object]) -> float:
        began = time.monotonic()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic() - began

    def seconds_left(self) -> float | None:
        """How long the rest of the run takes; None before the first steps were timed."""
        if self.pace is None:
            return None
        return self.pace.seconds(self.settings, self.step, 0 if self.joint else self._alone_until())

    def _alone_until(self) -> int:
        """The first step that trains the PET's flow too."""
        return math.ceil(self.settings.image_share * self.settings.steps)

    # ---- the run

    def run(self, resume: bool = False, holding: bool = False) -> Bundle:
        """Train to the last step and write the bundle.

        Args:
            resume: go on with the run in the folder.
            holding: whether the caller has the folder already (``hold_run``).

        Raises:
            InputError: if the folder holds another run and ``resume`` is off, or none and it is on; if another process
                works there; if no checkpoint is whole; if the folder can't be written or the disk is full; if the
                weights have become infinite.
            Interrupted: if ``stop`` said so.
        """
        with nullcontext() if holding else hold_run(self.folder):
            self.begin(resume)
            self._train()
            return self._bundle()

    def _train(self) -> None:
        last = time.monotonic()
        while self.step < self.settings.steps:
            if self.stop():
                self.save()
                text = f"Stopped after step {self.step} of {self.settings.steps}; go on with --resume."
                raise Interrupted(text, self.step)
            if self.pause():
                self.save()
                while self.pause() and not self.stop():
                    time.sleep(_PATIENCE)
                last = time.monotonic()
                continue
            if not self.joint and self.step >= self._alone_until():
                self.begin_joint()
            event = self.advance()
            if self.pace is None and len(self._durations) == _TIMED:
                self._tell_pace()
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            due = self.step % self.settings.validate_every == 0 or self.step == self.settings.steps
            if due and len(self.validation_cases):
                event.update(self.validate())
            self.bits = _bits(event)
            self._record({"step": self.step, **event, "seconds": round(self.seconds, 2), "skipped": self.skipped})
            if self.step % self.settings.checkpoint_every == 0:
                self.save()
        self.save()

    def advance(self) -> dict:
        """Take the next step."""
        began, first = time.monotonic(), self._durations
        event = self._take_step()
        self._durations = [*first[-_TIMED:], time.monotonic() - began]
        self.step += 1
        return event

    def _tell_pace(self) -> None:
        """Say how long it will take, where that is long."""
        if (self.settings.steps - self.step) * min(self._durations) < _SHORT:
            return
        self.pace = self.measure()
        pieces = f"{self.pace.joint:.3g} s a step"
        if not self.joint and self.step < self._alone_until():
            pieces = f"{self.pace.alone:.3g} s a step to step {self._alone_until()}, then {self.pace.joint:.3g} s"
        self.note(f"About {spoken(self.seconds_left())} to go: {pieces}.")

    def begin(self, resume: bool = False) -> None:
        check_run(self.folder, resume)
        make_folder(self.folder)
        remove_temporary(self.folder)
        old = self.folder / OLD
        if resume and (self._checkpoints.exist() or old.is_file()):
            self._load(old)
            return
        if resume:
            self.note(f"{self.folder} has no checkpoint yet; the run begins anew.")
        write_whole(self.folder / HISTORY, "", force=True)  # from now on there is a run to resume
        self.start()
        self.average = _Average(self.model, self.settings.ema)

    def start(self) -> None:
        """Set what the model begins with from the cases."""
        if self.config.link.kind == "unet":
            mean, sd = self.train_cases.statistics()
            sd = (sd.square() + self.config.pet_noise**2).sqrt()
            self.model.link.set_base((mean - 0.5).to(self.device), sd.to(self.device))
        self.joint = not (self.settings.image_share and self.model.link_has_image and self.model.discriminators is None)
        self.model.initialize(*self._first_cases(), not self.joint)

    def _first_cases(self) -> tuple[torch.Tensor, ...]:
        indices = torch.randperm(len(self.train_cases), generator=self._generator(0, 3))
        return self._tensors(
            self.train_cases, indices[: self.settings.initialize_with].tolist(), self.step, augment=True
        )

    def begin_joint(self) -> None:
        """From now on with the PET's flow, set from what the link, as averaged so far, leaves over."""
        self.joint = True
        self._begin_anew()
        self.model.initialize(*self._first_cases())
        self.average.model.load_state_dict(self.model.state_dict())

    def _begin_anew(self) -> None:
        """Go on from the averaged weights, slowly at first."""
        self.model.load_state_dict(self.average.model.state_dict())
        self.optimizer = self._optimizer()
        self.usual, self.since, self.lost = math.inf, self.step, 0

    def _record(self, event: dict) -> None:
        history = self.folder / HISTORY
        try:
            with history.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
        except OSError as error:
            raise InputError(
                f"{history} can't be written: {error.strerror or error}; mend that and go on with --resume."
            ) from None
        self.report({**event, "steps": self.settings.steps})

    # ---- checkpoints

    def save(self) -> None:
        """Write a checkpoint of this step, unless there is one or it would be of no use."""
        if self._checkpoints.last == self.step:
            return
        if unsound_tensor(self.average.model.state_dict()):
            raise InputError(
                f"After step {self.step}, the weights of {self.folder} are no longer finite; train anew in another "
                "folder, with a smaller learning_rate."
            )
        optimizer, moments = optimizer_parts(self.optimizer.state_dict())
        parts = {"model": self.model.state_dict(), "average": self.average.model.state_dict(), "optimizer": moments}
        tensors = {f"{part}.{name}": tensor for part, of_it in parts.items() for name, tensor in of_it.items()}
        if unsound_tensor(tensors):
            return  # ``_begin_anew`` will mend it
        values = {
            **{name: getattr(self, name) for name in _COUNTERS},
            "usual": None if math.isinf(self.usual) else self.usual,
            "bits": self.bits,
            "optimizer": optimizer,
            "config": self.config.to_dict(),
            "settings": self.settings.to_dict(),
        }
        try:
            with (self.folder / HISTORY).open("ab") as file:
                os.fsync(file.fileno())  # no checkpoint without the history that leads to it
        except OSError as error:
            raise InputError(f"{unusable(error, self.folder)}; mend that and go on with --resume.") from None
        try:
            self._checkpoints.write(values, tensors)
        except InputError as error:
            raise InputError(f"{str(error).rstrip('.')}; mend that and go on with --resume.") from None

    def _load(self, old: Path) -> None:
        """Go on from the last checkpoint that is whole, or from one of the old kind, which is then replaced."""
        from_old = not self._checkpoints.exist()
        values, tensors, problems = (*read_old(old), []) if from_old else self._checkpoints.read()
        if ModelConfig.from_dict(values["config"]) != self.config:
            raise InputError(f"{self.folder} was trained with another model or grid; give the settings it began with.")
        mine = self.settings.to_dict()
        changed = {key for key, value in values["settings"].items() if value != mine.get(key)} - _FREE
        if changed:
            raise InputError(f"{self.folder} began with other settings ({', '.join(sorted(changed))}); give the same.")
        parts: dict[str, dict] = {"model": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        try:
            self.model.load_state_dict(parts["model"])
            self.average.model.load_state_dict(parts["average"])
            restore_optimizer(self.optimizer, values["optimizer"], parts["optimizer"])
        except (RuntimeError, ValueError, LookupError) as error:
            raise InputError(f"{self.folder} was trained with another DualGlow; resume it with that one.") from error
        for name in _COUNTERS:
            setattr(self, name, values[name])
        self.usual = math.inf if values["usual"] is None else values["usual"]
        reached, last = self._cut_history()
        self.bits = values["bits"] if "bits" in values else _bits(last)
        if from_old:
            self.save()
            old.unlink()
        if problems:
            self.note(f"{'; '.join(problems)}: the run goes on from step {self.step}.")
        elif reached > self.step:
            self.note(f"The run goes on from step {self.step}, its last checkpoint, though it had reached {reached}.")

    def _cut_history(self) -> tuple[int, dict]:
        """Take away what came after this step, and lines that are not whole; gives the last step and the last line."""
        history = self.folder / HISTORY
        reached, kept, last = 0, [], {"step": 0}
        for line in history.read_text(encoding="utf-8", errors="replace").splitlines() if history.is_file() else []:
            try:
                event = json.loads(line)
                step = int(event["step"])
            except (ValueError, TypeError, LookupError, OverflowError):
                continue
            reached = max(reached, step)
            if last["step"] < step <= self.step:
                kept.append(line + "\n")
                last = event
        write_whole(history, "".join(kept), force=True)
        return reached, last if last["step"] == self.step else {}

    def _bundle(self) -> Bundle:
        cases = self.train_cases.cases
        training = {
            "cases": len(cases),
            "subjects": len({case.subject for case in cases}),
            "steps": self.step,
            "batch": self.settings.batch,
            "seconds": round(self.seconds),
            "device": self.device.type,
            "skipped_steps": self.skipped,
            **{key: round(value, 4) for key, value in self.bits.items()},
            **({"licence": self.settings.licence} if self.settings.licence else {}),
            **self.about,
        }
        bundle = Bundle(
            self.average.model.cpu(), self.grid, T1_SCALE, self.train_cases.pet_scale, self.folder.name, training
        )
        save_bundle(bundle, self.folder / _BUNDLE, model_card(bundle))
        return bundle
