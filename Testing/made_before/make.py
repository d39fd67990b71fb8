"""Makes the files beside it with the code of commit 461657a, see README.md; today's code can't run it.

python make.py OUT
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import vtk
from DualGlowLib.scans import Grid
from test_cohort_preparation import make_cohort

import host
from DualGlowLib.bundle import load_bundle
from DualGlowLib.cases import Case, prepare_cohort, read_cases, read_on_grid
from DualGlowLib.model import encode_covariates
from DualGlowLib.training import Cohort, Interrupted, Trainer, TrainingSettings
from hand_client import HandClient
from toy_cohort import toy_config

GRID = Grid("coarse", (16, 24, 16), (10.0, 10.0, 10.0))
SHAPE = (5, 4, 3)
PERSON = {"age": 63.0, "sex": "F"}


def trainer(folder: Path) -> Trainer:
    """As ``toy_trainer`` of Testing/support/toy_runs.py, but smaller."""

    def cases(count: int, seed: int) -> Cohort:
        generator = torch.Generator().manual_seed(seed)
        t1 = torch.rand(count, 1, 8, 8, generator=generator)
        pet = 0.5 * t1 + 0.02 * torch.randn(t1.shape, generator=generator)
        people = [Case(f"sub-{i:02d}", f"sub-{i:02d}", Path(), Path()) for i in range(count)]
        return Cohort(t1.half(), pet.half(), people, 1.5)

    values = {"steps": 4, "warmup": 2, "batch": 2, "initialize_with": 4, "checkpoint_every": 1, "validate_every": 2}
    flow = {"depths": (1,), "widths": (2,)}
    config = toy_config(2)
    config = replace(
        config,
        mri=replace(config.mri, **flow),
        pet=replace(config.pet, **flow),
        link=replace(config.link, widths=(2,), context=(1,), patterns=1, groups=1),
    )
    grid = Grid("toy", (8, 8, 1), (10.0, 10.0, 10.0))
    chosen = replace(TrainingSettings(), **values)
    return Trainer(folder, config, chosen, grid, cases(6, 0), cases(2, 1))


def make_run(out: Path) -> None:
    """A run that was stopped after its third step of four, the same run finished, and what its model says."""
    run = trainer(out / "run")
    run.stop = lambda: run.step == 3
    with suppress(Interrupted):
        run.run()
    shutil.copytree(out / "run", out / "finished")
    trainer(out / "finished").run(resume=True)
    shutil.move(out / "finished" / "bundle", out / "bundle")

    bundle = load_bundle(out / "bundle")
    model = bundle.model
    mri = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    pet = 0.5 * mri.flip(2)
    with torch.no_grad():
        encoding = model.encode(mri)
        codes = encode_covariates(model.config.covariates, [PERSON])
        law = model.link.decode(encoding.features, codes)
        said = {
            "history": [json.loads(line) for line in (out / "finished" / "history.jsonl").read_text().splitlines()],
            "mode": model.sample(encoding, codes, 0.0).flatten().tolist(),
            "pet_log_prob": model.pet_log_prob(pet, law).tolist(),
            "mri_log_prob": model.mri_log_prob(mri)[0].tolist(),
            "scales": [bundle.t1_scale, bundle.pet_scale],
        }
    (out / "expected.json").write_text(json.dumps(said, indent=1) + "\n")
    shutil.rmtree(out / "finished")


def make_prepared(out: Path) -> None:
    cases = make_cohort(out / "cases", ["sub-01"])
    prepare_cohort(cases, out / "prepared", GRID, pictures=False)
    shutil.rmtree(out / "cases")
    manifest = out / "prepared" / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "source": "cases"}, indent=2) + "\n")  # no folder of one machine
    (case,) = read_cases(out / "prepared")
    t1, pet, mask = read_on_grid(case, GRID)
    said = json.loads((out / "expected.json").read_text())
    said["prepared"] = {
        "covariates": dict(case.covariates), "voxels": int(mask.sum()),
        "t1": float(t1[mask].mean()), "pet": float(pet[mask].mean()),
    }  # fmt: skip
    (out / "expected.json").write_text(json.dumps(said, indent=1) + "\n")


def make_scene(out: Path) -> None:
    """A T1 under a transform, its result at 71.5 years with all parts, sample 2 over the MRI, and a sweep."""
    slicer = host.start()
    module = host.load(Path(sys.modules["DualGlowLib"].__file__).parent.parent / "DualGlowSynthesis.py")
    from DualGlowSynthesisLib.engine import Engine

    import DualGlowSynthesis
    from DualGlowSynthesisLib import dependencies, sweep
    from DualGlowSynthesisLib.window import Window

    dependencies.missingPackages = list
    client = HandClient()
    DualGlowSynthesis.Window = lambda ui: Window(ui, Engine(client))
    widget = module.open()
    axes = np.array([[0.0, -0.8, 0.6, 10.0], [0.0, 0.6, 0.8, -20.0], [-1.5, 0.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
    voxels = np.arange(60, dtype=np.int16).reshape(SHAPE[::-1]) % 7
    volume = slicer.util.addVolumeFromArray(voxels, axes, "T1")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    turn = vtk.vtkTransform()
    turn.RotateZ(30)
    transform.SetMatrixTransformToParent(turn.GetMatrix())
    volume.SetAndObserveTransformNodeID(transform.GetID())

    parameters = widget._parameterNode
    parameters.age, parameters.sex, parameters.temperature = 71.5, "F", 0.7
    parameters.samples, parameters.seed, parameters.belowThreshold = 4, 12, 1.2
    widget.ui.applyButton.click()
    client.answer_readying()
    about = {
        "Synthetic": True, "Units": "SUVR", "ReferenceRegion": "pons", "Age": 71.5, "Sex": "F", "Diagnosis": None,
        "Temperature": 0.7, "Samples": 4, "Seed": 12, "Bundle": "hand made", "BundleSHA256": "0f" * 32, "Source": "T1",
        "TrainedOnSimulatedPET": True, "Verdict": {"status": "good", "reasons": []},
    }  # fmt: skip
    client.answer_sample(SHAPE, provenance=about)
    parameters.sampleNumber, parameters.shown = 2, "sample"
    if any(one.do == "one" for one in client.asked):
        sample = np.full(SHAPE, 3, np.float32, order="F")
        client.the("one").done(sample=sample, regions=[], provenance={**about, "Samples": 1, "FirstSample": 2})
    row = {"region": "left_frontal", "low": None, "high": None}
    steps = [
        {
            "age": age, "mean": np.full(SHAPE, age, np.float32, order="F"), "regions": [{**row, "mean": age / 50}],
            "provenance": {**about, "Age": age, "Samples": 1},
        }
        for age in (60.0, 70.0)
    ]  # fmt: skip
    sweep.makeSweep(volume, steps, {**about, "Age": [60.0, 70.0]})
    assert slicer.util.saveScene(str(out / "scene.mrb"))
    module.close(widget)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for make in (make_run, make_prepared, make_scene):
        make(folder)
