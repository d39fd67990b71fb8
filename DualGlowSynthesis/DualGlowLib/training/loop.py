"""The training loop: steps, validation, checkpoints, resume, the bundle at the end."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..bundle.bundle import Bundle, save_bundle, unsound_tensor
from ..bundle.card import model_card
from ..devices import fault_of_device
from ..errors import InputError
from ..files import make_folder, remove_temporary, write_whole
from ..flow import set_memory
from ..model import DualGlow, ModelConfig, Objective, encode_covariates, hide_covariates
from ..volumes.grid import Grid
from .checkpoints import OLD, Checkpoints, changes, optimizer_parts, read_old, restore_optimizer
from .data import T1_SCALE, Batch, Cohort, step_generator
from .distributed import Ranks, one_number
from .folder import BUNDLE, check_run, has_checkpoint, hold_run, writing
from .loading.feed import Feed
from .monitoring.logs import Logs
from .monitoring.samples import HeldOutSamples
from .optim import Average, build_optimizer, learning_rate
from .pace import Pace, spoken
from .precision import has_bfloat16, in_precision, joined_objective, precision_note
from .settings import TrainingSettings, steps_per_epoch
from .status import HISTORY, Interrupted
from .stopping import Best

__all__ = ["Interrupted", "Trainer"]

_OUTLIER = 20.0
_TIMED = 3  # steps after which a run says how long it will take
_SHORT = 30.0  # seconds; of a shorter run nothing is said
_PATIENCE = 0.2  # seconds between looks at the wish to go on
_LOST = 25  # steps skipped in a row after which the weights themselves must be at fault
# Settings that a run may be resumed with others of:
_FREE = {
    "accumulate", "checkpoint_every", "data", "epochs", "licence", "memory", "patience", "precision",
    "sampled_cases", "sharding", "steps", "tensorboard", "validate_every", "workers",
}  # fmt: skip
_COUNTERS = ("step", "skipped", "lost", "joint", "since", "seconds")


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
        ranks: the processes that train together, each of which has such a trainer; by default this one alone. The
            first's files, reports and notes are those of the run.

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
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        settings = settings.in_steps(len(train))
        if settings.patience and not len(validation):
            raise InputError(
                "patience is set, but no case is kept out to watch; set validation above 0, or give folds."
            )
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
        self.best = Best(self.folder)
        count = settings.sampled_cases if config.dims == 3 else 0
        self.samples = HeldOutSamples(self.folder, grid, validation, count, settings.seed, self.about, self._say)
        self.logs = Logs(self.folder, self._say, settings.tensorboard)
        batch, cases = min(settings.batch, len(train)), len(train)
        if batch < self.ranks.count:
            raise InputError(
                f"{self.ranks.count} processes can't share a batch of {batch} ({cases} cases to train on); start "
                "fewer, or set batch to as many."
            )
        self._batch = batch
        self.feed = Feed(train, settings, self.ranks.share(batch), self.device, self._say)
        self._told: set[str] = set()
        self._is_sharded = settings.sharding == "full" and self.ranks.count > 1
        torch.manual_seed(settings.seed)
        self.model = self._placed(self.build())
        set_memory(self.model, settings.memory)
        self.average = Average(self.model, settings.ema)
        self.optimizer = self._optimizer()

    def _say(self, sentence: str) -> None:
        self.note(sentence)

    @staticmethod
    def stated(event: dict) -> dict[str, float]:
        """What a bundle states of the last step; a batch that was skipped may have no number."""
        return {key: value for key, value in event.items() if key.endswith("bits") and math.isfinite(value)}

    def finish(self, model: DualGlow) -> None:
        """What is left to do with the model before it is bundled."""

    def build(self) -> DualGlow:
        """The model as the run begins with it; what needs no gradient stays as it is."""
        return DualGlow(self.config)

    def _placed(self, model: DualGlow) -> DualGlow:
        # oneDNN has a layout of its own, into which it brings plain weights at half the cost of others. What is
        # divided among processes is divided as it lies in memory.
        if self._is_sharded or (self.device.type == "cpu" and self.config.dims == 3):
            return model.to(self.device)
        layout = torch.channels_last_3d if self.config.dims == 3 else torch.channels_last
        return model.to(self.device, memory_format=layout)

    def _spread(self) -> None:
        """Bring model and average, as they are now, to all processes, and begin with a new optimiser."""
        sharded, by_flow = self._is_sharded, self.settings.memory == "invertible"
        self._objective = self.ranks.spread(self.model, sharded, by_flow)
        self._averaged = self.ranks.spread(self.average.model, sharded, by_flow) if sharded else self.average.model
        self.optimizer = self._optimizer()

    def _in_one_piece(self, model: DualGlow) -> DualGlow:
        """A model with the same weights of which each process has all."""
        found = self._placed(self.build())
        found.load_state_dict(self.ranks.whole(model.state_dict(), everywhere=True))
        return found

    def _optimizer(self) -> torch.optim.Optimizer:
        per_epoch = steps_per_epoch(len(self.train_cases), self.settings.batch)
        return build_optimizer(self.model, self.settings, per_epoch)

    # ---- one step

    def _generator(self, step: int, stream: int) -> torch.Generator:
        return step_generator(self.settings.seed, step, stream)

    def _tensors(
        self, batch: Batch, count: int, step: int, rows: slice = slice(None)
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """PETs, MRIs and covariates of a batch, which has those rows of ``count`` cases that noise is drawn for."""
        for sentence in batch.notes:
            if sentence not in self._told:  # a copy that can't be mended is found damaged again and again
                self._told.add(sentence)
                self.note(sentence)
        pet, mri = self.model.add_noise(batch.pet, batch.mri, self._generator(step, 2), (count, rows))
        covariates = encode_covariates(self.config.covariates, batch.covariates)
        return tuple(tensor.to(self.device, non_blocking=True) for tensor in (pet, mri, covariates))

    def _gradients(self, joint: bool) -> Objective:
        """The objective of this process's cases of the present step, and the whole batch's gradients at the weights."""
        count = self._batch
        rows = self.ranks.share(count)
        batch = self.ranks.together(lambda: self.feed.batch(self.step))
        pet, mri, known = self._tensors(batch, count, self.step, rows)
        visible = hide_covariates(
            self.config.covariates, known, self.settings.covariate_dropout, self._generator(self.step, 4),
            (count, rows),
        )  # fmt: skip
        self.optimizer.zero_grad(set_to_none=True)
        pieces, found = min(self.settings.accumulate, count // self.ranks.count), []
        for piece in torch.arange(len(pet)).tensor_split(pieces):
            place = slice(int(piece[0]), int(piece[-1]) + 1)
            mean = [] if batch.mean is None else [batch.mean[place].to(self.device, non_blocking=True)]
            with in_precision(self.settings.precision, self.device):
                objective = self._objective(
                    pet[place], mri[place], visible[place], known[place], self.step / self.settings.steps, not joint,
                    *mean,
                )  # fmt: skip
            # The processes' gradients are averaged: each counts by its share of the cases.
            (objective.loss.mean() * (len(piece) * self.ranks.count / count)).backward()
            found.append(objective)
        return joined_objective(found)

    def _take_step(self) -> dict:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.step, self.since)
        objective = self._gradients(self.joint)
        share = len(objective.loss) / self._batch
        numbers = self.ranks.total({key: value.mean() * share for key, value in objective.parts().items()})
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, self.settings.clip)
        # One case that the model finds all but impossible has a gradient thousands of times the usual; even clipped it
        # points nowhere good.
        size, limit = one_number(norm), _OUTLIER * self.usual
        if math.isfinite(numbers["loss"]) and size < limit:
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
        return {**numbers, "gradient": size}

    @torch.no_grad()
    def validate(self) -> dict:
        """Mean loss, its parts and bits per dimension of the averaged model on the validation cases."""
        sums: dict[str, float] = {}
        count, batch = len(self.validation_cases), self.settings.batch
        for start in range(0, count, batch):
            for key, value in self._validation(list(range(start, min(count, start + batch)))).items():
                sums[key] = sums.get(key, 0.0) + value
        return {f"validation_{key}": value / count for key, value in sums.items()}

    @torch.no_grad()
    def _validation(self, indices: list[int]) -> dict[str, float]:
        """Sums over the given validation cases."""
        rows = self.ranks.share(len(indices))
        # Who has none of the cases computes one for nothing: divided weights are gathered by all processes together.
        some = rows if rows.start < rows.stop else slice(1)
        batch = self.ranks.together(lambda: self.validation_cases.batch(indices, None, some))
        pet, mri, covariates = self._tensors(batch, len(indices), indices[0], some)
        with in_precision(self.settings.precision, self.device):
            objective = self._averaged(pet, mri, covariates, None, 1.0, not self.joint)
        return self.ranks.total({key: value.sum() * (some == rows) for key, value in objective.parts().items()})

    @property
    def _samples_here(self) -> bool:
        """Whether this process draws PETs; none can where each has a part of the weights alone."""
        return self.ranks.is_first and not self._is_sharded

    def _sampled(self) -> dict:
        """PSNR and CRPS of held-out cases, of which a picture is kept."""
        if not self._samples_here:
            return {}
        found = self.samples.write(self.average.model, self.step, not self.joint)
        if self.samples.picture is not None:
            self.logs.picture(self.step, self.samples.picture)
        return found

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
            if self._samples_here:
                draw = self._timed(lambda: self.samples.draw(self.average.model, not self.joint))
                held_out += draw * self.samples.count
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
                weights have become infinite; if the device has failed, or its memory is full.
            Interrupted: if ``stop`` said so.
        """
        with nullcontext() if holding else self.ranks.holding(lambda: hold_run(self.folder)):
            try:
                self.begin(resume)
                self._train()
                return self._bundle()
            except (RuntimeError, NotImplementedError) as error:
                if not (why := fault_of_device(error)):
                    raise
                first, less = str(error).splitlines()[0].rstrip("."), "with --memory checkpoint, which takes less of it"
                hint = less if "memory" in why else "when it works again, or with --device cpu"
                raise InputError(
                    f"The device {self.device} {why} after step {self.step} ({first}); go on with --resume, {hint}."
                ) from error
            finally:
                self.feed.close()
                self.logs.close()

    def _train(self) -> None:
        last = time.monotonic()
        while self.step < self.settings.steps and not self._is_patience_over():
            if self.ranks.any(self.stop()):
                self.save()
                text = f"Stopped after step {self.step} of {self.settings.steps}; go on with --resume."
                raise Interrupted(text, self.step)
            if self.ranks.any(self.pause()):
                self.save()
                while self.ranks.any(self.pause()) and not self.ranks.any(self.stop()):
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
                event.update(self._sampled())
                event.update(self._compare_with_best(event["validation_loss"]))
            self.bits = self.stated(event)
            self._record({"step": self.step, **event, "seconds": round(self.seconds, 2), "skipped": self.skipped})
            if self.step % self.settings.checkpoint_every == 0:
                self.save()
        self.save()
        if self.step < self.settings.steps:
            self.note(
                f"The run ends at step {self.step}: in {self.best.waited} validations the held-out loss was never "
                f"below that of step {self.best.step}, whose model is bundled."
            )

    def _compare_with_best(self, loss: float) -> dict:
        """Keep the averaged weights if the held-out loss has never been lower; what the history says of that."""
        if not (self.settings.patience and self.joint):
            return {}
        if self.best.see(loss):
            tensors = self.ranks.whole(self.average.model.state_dict())
            self.ranks.first(writing(self.folder)(lambda: self.best.write(self.step, tensors)))
            self.best.step = self.step
        return {"best_step": self.best.step}

    def _is_patience_over(self) -> bool:
        return 0 < self.settings.patience <= self.best.waited

    def advance(self) -> dict:
        """Take the next step."""
        began, first = time.monotonic(), self._durations
        event = self._take_step()
        self._durations = [*first[-_TIMED:], time.monotonic() - began]
        self.step += 1
        return event

    def _tell_pace(self) -> None:
        """Say how long it will take, where that is long."""
        if not self.ranks.any((self.settings.steps - self.step) * min(self._durations) >= _SHORT):
            return
        self.pace = self.measure()
        pieces = f"{self.pace.joint:.3g} s a step"
        if not self.joint and self.step < self._alone_until():
            pieces = f"{self.pace.alone:.3g} s a step to step {self._alone_until()}, then {self.pace.joint:.3g} s"
        self.note(f"About {spoken(self.seconds_left())} to go: {pieces}.")

    def begin(self, resume: bool = False) -> None:
        """Set the model from the first cases, or as the run's last checkpoint has it."""
        if words := precision_note(self.settings.precision, self.device):
            self.note(words)
        if self.settings.sharding == "full" and self.ranks.count == 1:
            self.note("sharding full divides a model among several processes (torchrun); this one has all of it.")
        if self.ranks.first(lambda: self._has_checkpoint(resume)):
            self._load()
            self._begin_logs()
            return
        self.start()
        self.average = Average(self.model, self.settings.ema)
        self._spread()
        self._begin_logs()

    def start(self) -> None:
        """Set what the model begins with from the cases."""
        if self.config.link.kind == "unet":
            mean, sd = self.train_cases.statistics()
            sd = (sd.square() + self.config.pet_noise**2).sqrt()
            self.model.link.set_base((mean - 0.5).to(self.device), sd.to(self.device))
        self.joint = not (self.settings.image_share and self.model.link_has_image and self.model.discriminators is None)
        self.model.initialize(*self.ranks.together(self._first_cases), not self.joint)

    def _begin_logs(self) -> None:
        if self.ranks.is_first:
            self.logs.begin(self.step)

    def _has_checkpoint(self, resume: bool) -> bool:
        """Whether there is one to go on from; if not, from now on there is a run to resume."""
        check_run(self.folder, resume)
        make_folder(self.folder)
        remove_temporary(self.folder)
        if resume and has_checkpoint(self.folder):
            return True
        if resume:
            self.note(f"{self.folder} has no checkpoint yet; the run begins anew.")
        write_whole(self.folder / HISTORY, "", force=True)
        return False

    def _first_cases(self) -> tuple[torch.Tensor, ...]:
        order = torch.randperm(len(self.train_cases), generator=self._generator(0, 3))
        indices = order[: self.settings.initialize_with].tolist()
        augment = self._generator(self.step, 1) if self.settings.augment else None
        return self._tensors(self.train_cases.batch(indices, augment), len(indices), self.step)

    def begin_joint(self) -> None:
        """From now on with the PET's flow, set from what the link, as averaged so far, leaves over."""
        self.joint = True
        self._begin_anew()
        if self._is_sharded:
            self.model = self._in_one_piece(self.model)
            set_memory(self.model, self.settings.memory)
        self.model.initialize(*self.ranks.together(self._first_cases))
        if self._is_sharded:
            self.average = Average(self.model, self.settings.ema)
            self._spread()
        else:
            self.average.model.load_state_dict(self.model.state_dict())

    def _begin_anew(self) -> None:
        """Go on from the averaged weights, slowly at first."""
        self.model.load_state_dict(self.average.model.state_dict())
        self.optimizer = self._optimizer()
        self.usual, self.since, self.lost = math.inf, self.step, 0

    def _record(self, event: dict) -> None:
        if not self.ranks.is_first:
            return
        history = self.folder / HISTORY
        with writing(self.folder), history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        self.logs.record(event)
        self.report({**event, "steps": self.settings.steps})

    # ---- checkpoints

    def save(self) -> None:
        """Write a checkpoint of this step, unless there is one or it would be of no use."""
        if self._checkpoints.last == self.step:
            return
        self.logs.flush()
        optimizer, moments = optimizer_parts(self.optimizer.state_dict())
        parts = {"model": self.model.state_dict(), "average": self.average.model.state_dict(), "optimizer": moments}
        tensors = self.ranks.whole(
            {f"{part}.{name}": tensor for part, of_it in parts.items() for name, tensor in of_it.items()}
        )
        if self.ranks.first(lambda: self._write(optimizer, tensors)):
            self._checkpoints.last = self.step
            self.best.saved()

    def _write(self, optimizer: dict, tensors: dict[str, torch.Tensor]) -> bool:
        """Write this checkpoint; gives whether it is of use."""
        if unsound_tensor({name: tensor for name, tensor in tensors.items() if name.startswith("average.")}):
            raise InputError(
                f"After step {self.step}, the weights of {self.folder} are no longer finite; train anew in another "
                "folder, with a smaller learning_rate."
            )
        if unsound_tensor(tensors):
            return False  # ``_begin_anew`` will mend it
        values = {
            **{name: getattr(self, name) for name in _COUNTERS},
            "usual": None if math.isinf(self.usual) else self.usual,
            "bits": self.bits,
            "optimizer": optimizer,
            "config": self.config.to_dict(),
            "settings": self.settings.to_dict(),
            "best": self.best.to_dict() if self.best.step else None,
            "cases": self._names(),
            "pet_scale": self.train_cases.pet_scale,
            "scans": self._scans(),
            "preparation": self.about.get("preparation"),
            "computed": self._computed(),
        }
        with writing(self.folder):
            with (self.folder / HISTORY).open("ab") as file:
                os.fsync(file.fileno())  # no checkpoint without the history that leads to it
            self._checkpoints.write(values, tensors)
        return True

    def _load(self) -> None:
        """Go on from the last checkpoint that is whole, or from one of the old kind, which is then replaced."""
        parts: dict[str, dict] = {"model": {}, "average": {}, "optimizer": {}}
        read: dict[str, torch.Tensor] = {}
        values, problems, from_old = self.ranks.first(lambda: self._read(read))
        for name, tensor in self.ranks.tensors(read).items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        try:
            self.model.load_state_dict(parts["model"])
            self.average.model.load_state_dict(parts["average"])
            self._spread()
            restore_optimizer(self.optimizer, values["optimizer"], parts["optimizer"])
        except (RuntimeError, ValueError, LookupError) as error:
            raise InputError(f"{self.folder} was trained with another DualGlow; resume it with that one.") from error
        for name in _COUNTERS:
            setattr(self, name, values[name])
        self.usual = math.inf if values["usual"] is None else values["usual"]
        self.best.restore(values.get("best"))
        reached, last = self.ranks.first(self._cut_history)
        self.bits = values["bits"] if "bits" in values else self.stated(last)
        if from_old:
            self.save()
            self.ranks.first((self.folder / OLD).unlink)
        else:
            self._checkpoints.last = self.step
        if otherwise := changes(values.get("computed"), self._computed()):
            self.note(
                f"The run goes on with {otherwise}: what it comes to is close to what it would have been, not equal to "
                "the last bit."
            )
        before, now = values.get("scans") or {}, self._scans()  # not said by all
        if others := [name for name, scan in now.items() if before.get(name, scan) != scan]:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            self.note(
                f"The scans of {', '.join(others[:3])}{more} are not those that the run began with; it goes on with "
                "what is there now. Train anew in another folder if they were changed on purpose."
            )
        if problems:
            self.note(f"{'; '.join(problems)}: the run goes on from step {self.step}.")
        elif reached > self.step:
            self.note(f"The run goes on from step {self.step}, its last checkpoint, though it had reached {reached}.")

    def _read(self, into: dict[str, torch.Tensor]) -> tuple[dict, list[str], bool]:
        """Values of a checkpoint of this run, what is wrong with later ones, and whether it is of the old kind.

        Args:
            into: gets its tensors.
        """
        from_old = not self._checkpoints.exist()
        values, tensors, problems = (*read_old(self.folder / OLD), []) if from_old else self._checkpoints.read()
        self._check_cases(values.get("cases"))
        if values.get("preparation") not in (None, self.about.get("preparation")):  # checkpoints of before don't say it
            raise InputError(f"{self.folder} began with cases that were prepared otherwise; give the same options.")
        if (config := self._stated(values["config"])) != self.config:
            if config and replace(config, covariates=self.config.covariates) == self.config:
                raise InputError(
                    f"{self.folder} began with other covariates, or with cases of other ages, sexes or diagnoses; give "
                    "the cases and settings that it began with."
                )
            raise InputError(f"{self.folder} was trained with another model or grid; give the settings it began with.")
        if values.get("pet_scale") not in (None, scale := self.train_cases.pet_scale):  # nor is it said by all
            raise InputError(
                f"{self.folder} began with other scans of these cases, whose PETs had another range "
                f"({values['pet_scale']:g} SUVR, not {scale:g}); give those that it began with."
            )
        mine = self.settings.to_dict()
        theirs = {**TrainingSettings().to_dict(), **values["settings"]}  # what was no setting yet was as by default
        changed = {key for key, value in theirs.items() if value != mine.get(key)} - _FREE
        if changed:
            raise InputError(f"{self.folder} began with other settings ({', '.join(sorted(changed))}); give the same.")
        into.update(tensors)
        return values, problems, from_old

    def _stated(self, values: dict) -> ModelConfig | None:
        """The configuration that a checkpoint states; None for one of another kind of model."""
        return None if "method" in values else ModelConfig.from_dict(values)

    @property
    def _precision(self) -> str:
        """That which the networks really compute in here."""
        return self.settings.precision if has_bfloat16(self.device) else "float32"

    def _computed(self) -> dict[str, object]:
        """What the last bits of a result depend on, by the words for it."""
        return {
            "device": self.device.type,
            "precision": self._precision,
            "threads": torch.get_num_threads(),
            "processes": self.ranks.count,
            "torch": torch.__version__,
        }

    def _names(self) -> dict[str, list[str]]:
        sides = {"training": self.train_cases, "validation": self.validation_cases}
        return {side: [case.name for case in cohort.cases] for side, cohort in sides.items()}

    def _scans(self) -> dict[str, str]:
        return {**self.train_cases.checksums(), **self.validation_cases.checksums()}

    def _check_cases(self, began: dict[str, list[str]] | None) -> None:
        """Refuse others than the run began with; checkpoints of before don't say which those were."""
        mine = self._names()
        if began is None or began == mine:
            return
        before, now = ({name for names in sides.values() for name in names} for sides in (began, mine))
        for some, words in (
            (before - now, "began with {}, which can't be used any more"),
            (now - before, "began without {}"),
        ):
            if some:
                more = f" and {len(some) - 1} more" if len(some) > 1 else ""
                raise InputError(
                    f"{self.folder} {words.format(min(some) + more)}; give the cases that it began with, or train anew "
                    "in another folder."
                )
        raise InputError(f"{self.folder} began with another division of its cases into folds; give the same.")

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
        with writing(self.folder):
            write_whole(history, "".join(kept), force=True)
        return reached, last if last["step"] == self.step else {}

    def _bundle(self) -> Bundle:
        model = self.average.model
        if self._is_sharded:
            model = self._in_one_piece(model).eval().requires_grad_(False)
        weights = self.best.read(self.note) if self.settings.patience and self.ranks.is_first else {}
        if weights := self.ranks.tensors(weights):
            model.load_state_dict(weights)
        self.finish(model)
        cases = self.train_cases.cases
        training = {
            "cases": len(cases),
            "subjects": len({case.subject for case in cases}),
            "steps": self.step,
            **({"best_step": self.best.step} if weights else {}),
            "batch": self.settings.batch,
            "seconds": round(self.seconds),
            "device": self.device.type,
            "skipped_steps": self.skipped,
            **{key: round(value, 4) for key, value in self.bits.items()},
            **({"licence": self.settings.licence} if self.settings.licence else {}),
            **self.about,
        }
        bundle = Bundle(model.cpu(), self.grid, T1_SCALE, self.train_cases.pet_scale, self.folder.name, training)
        self.ranks.first(writing(self.folder)(lambda: save_bundle(bundle, self.folder / BUNDLE, model_card(bundle))))
        return bundle
