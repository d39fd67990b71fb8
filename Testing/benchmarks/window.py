"""For how long the Synthesis window stands still: the longest gap between two turns of the event loop, step by step.

    PYTHONPATH=Testing/support python Testing/benchmarks/window.py [--t1 T1.nii.gz]

The module runs in the test host with its real worker. Without a T1 the template's own is taken, put into a lattice of
256×256×170 voxels of 1 mm. Prints a Markdown table: seconds until each step was done, and the longest gap in
milliseconds; less than 100 ms is wanted everywhere. The last two rows are the first display of a volume with all views
drawn, a result by the module and the same voxels by Slicer alone: the first is to be below 100 ms or below the second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import host
from DualGlowLib.atlas.template import load_template
from DualGlowLib.volumes.resampling import resample

ROOT = Path(__file__).resolve().parents[2]
WAIT = 600.0


def head(slicer: object) -> object:
    """The template's T1 as a scanner's lattice would hold it."""
    lattice = np.diag([-1.0, -1.0, 1.0, 1.0])
    lattice[:3, 3] = [128.0, 108.0, -70.0]
    t1 = load_template().t1
    data = resample(t1.data / t1.data.max(), t1.affine, (256, 256, 170), lattice)
    data = np.rint(1000 * data).astype(np.int16)
    return slicer.util.addVolumeFromArray(data.transpose(2, 1, 0), lattice, "T1")


def compare(slicer: object, t1: object, measure: Callable) -> None:
    """The first display of a result, and of a volume by Slicer's own means; each in views that show the T1."""
    from DualGlowLib.worker.replies import Sampled
    from DualGlowSlicerLib import volumes
    from DualGlowSynthesisLib.nodes import results

    size = t1.GetImageData().GetDimensions()
    voxels = np.random.default_rng(0).random(size, dtype=np.float32)

    def draw() -> None:
        for name in host.views.names():
            host.views.render(name)

    def ours() -> None:
        made = results.writeResult(t1, None, reply, None, isOwned=True)
        results.showResult(made, t1, "mean")
        draw()

    def slicers() -> None:
        made = slicer.util.addVolumeFromArray(array, volumes.affineOf(t1), "Slicer's own")
        slicer.util.setSliceViewerLayers(background=t1, foreground=made, foregroundOpacity=0.5)
        draw()

    reply = Sampled(np.asfortranarray(voxels), None, None, [], {}, "cpu")
    array = np.ascontiguousarray(voxels.transpose(2, 1, 0))
    for name, act in (("a result, first displayed", ours), ("the same voxels by Slicer alone", slicers)):
        slicer.util.setSliceViewerLayers(background=t1, foreground=None, fit=True)
        draw()
        measure(name, act, lambda: True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--t1")
    arguments = parser.parse_args()
    slicer = host.start()
    module = host.load(ROOT / "DualGlowSynthesis" / "DualGlowSynthesis.py")
    widget = module.open()
    ui, run = widget.ui, widget.window.run
    volume = slicer.util.loadVolume(arguments.t1) if arguments.t1 else head(slicer)
    size = "×".join(map(str, volume.GetImageData().GetDimensions()))
    print(f"| {size} | s | longest gap, ms |\n|---|---|---|", flush=True)

    def measure(name: str, act: Callable[[], object], isDone: Callable[[], object]) -> None:
        start = time.monotonic()
        with host.Gaps() as gaps:
            act()
            if not host.pump(until=isDone, timeout=WAIT):
                raise SystemExit(f"{name} did not end: {ui.statusLabel.text}")
        print(f"| {name} | {time.monotonic() - start:.1f} | {1000 * gaps.longest:.0f} |", flush=True)

    def idle() -> bool:
        return not run.isBusy

    def settled(age: int) -> Callable[[], bool]:
        output = widget._parameterNode.outputVolume
        return lambda: output.GetAttribute("DualGlow.Age") == str(age) and not run.disagreements()

    def several() -> None:
        ui.temperatureSlider.value = 1
        ui.samplesBox.value = 4
        ui.applyButton.click()

    ui.ageKnownBox.checked = True
    measure("Apply: worker, model, preparation, first PET", ui.applyButton.click, idle)
    measure("frames for the preview", lambda: None, lambda: run._live is None and len(run.frames) >= 10)
    measure("age slider moved, until exact", lambda: host.gestures.drag(ui.ageSlider, 72, 80, 85), settled(85))
    measure("Apply: 4 samples, spread and probability", several, idle)
    measure("sweep of 6 ages", ui.sweepButton.click, idle)
    compare(slicer, volume, measure)
    module.close(widget)


if __name__ == "__main__":
    main()
