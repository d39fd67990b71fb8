"""Train one of the paper's two tasks on natural images on a folder of photos, and show what comes out.

    python Testing/benchmarks/photos.py PHOTOS RUN [--task sketch] [--steps 2000] [--memory invertible]

At the paper's size (Table 4, width 512) unless told otherwise; on a CPU take ``--side 64 --levels 3 --width 48``. RUN
gets the bundle, the history and ``samples.png``: of each held-out photo its condition, itself, T = 0, two at T = 0.7.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from DualGlowLib.flow import MEMORY_MODES, set_memory
from DualGlowLib.pictures.drawing import write_png
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.photo_runs import samples_picture
from DualGlowLib.training.photos import PHOTO_TASKS, PhotoPairs
from DualGlowLib.training.settings import TrainingSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--task", choices=PHOTO_TASKS, default="sketch")
    parser.add_argument("--side", type=int, help="of the photos in pixels, instead of the paper's")
    parser.add_argument("--levels", type=int)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--held-out", type=int, default=4, help="photos to show at the end")
    parser.add_argument("--memory", choices=MEMORY_MODES, default="invertible")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    task = PHOTO_TASKS[options.task]
    pairs = PhotoPairs.read(options.photos, task, options.side)
    held = range(0, len(pairs), max(1, len(pairs) // options.held_out))[: options.held_out]
    train, shown = pairs.subset([i for i in range(len(pairs)) if i not in held]), pairs.subset(held)
    config = task.config(options.side, options.levels, options.depth, options.width)
    settings = TrainingSettings(steps=options.steps, batch=options.batch, learning_rate=1e-3, warmup=100, ema=0.99)
    run = Trainer(
        options.run,
        config,
        settings,
        pairs.grid,
        train,
        shown,
        device=options.device,
        report=lambda event: print({key: event[key] for key in ("step", "loss", "skipped")}, flush=True),
        about={"task": f"{task.name} to photo"},
    )
    set_memory(run.model, options.memory)
    run.run()

    write_png(samples_picture(run.average.model.cpu(), shown), options.run / "samples.png")


if __name__ == "__main__":
    main()
