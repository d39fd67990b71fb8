"""Synthesis without a window: the way from one volume node to another, for scripts."""

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from DualGlowLib import InputError
from DualGlowSlicerLib import volumes

from .nodes import belonging, marks, results, sweep
from .parameters import DualGlowSynthesisParameterNode

__all__ = ["DualGlowSynthesisLogic"]


class DualGlowSynthesisLogic(ScriptedLoadableModuleLogic):
    """Computes in this process, and returns when it is done. The window does the same through a process of its own.

    ``sessionFactory`` gives the library's ``Session``, without arguments; None: that one.
    """

    def __init__(self, sessionFactory=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._sessionFactory = sessionFactory or _session
        self._session = None

    def getParameterNode(self):
        return DualGlowSynthesisParameterNode(super().getParameterNode())

    def synthesize(
        self,
        inputVolume,
        age=None,
        sex=None,
        diagnosis=None,
        temperature=0.0,
        samples=1,
        seed=0,
        outputVolume=None,
        maskVolume=None,
        prepared=False,
        below=None,
        bundle=None,
        device="auto",
        progress=None,
    ):
        """Synthesize the FDG-PET (SUVR) of a T1-weighted MRI on the MRI's own lattice, and show it over the MRI.

        :param age, sex, diagnosis: None if unknown.
        :param temperature: factor on the latent noise; 0 gives the most likely image.
        :param samples: the result is the mean of this many; of several, their SD, the probability to lie ``below`` a
          SUVR, and the regions' table are nodes that the output refers to (``results.resultOf``).
        :param outputVolume: volume to write to: one without voxels, or a former result of the same MRI; a new one if
          None.
        :param maskVolume: brain mask on the MRI's voxels; found if None.
        :param prepared: whether the MRI is as the prepare command writes it.
        :param bundle: folder of the model; None for the one that ships.
        :param progress: called with a stage's name and a fraction 0..1.
        :return: the output volume.
        :raises InputError: for an unusable volume or covariate, in one sentence for the user.
        """
        if inputVolume is not None and (reason := belonging.reasonAgainstOutput(outputVolume, inputVolume)):
            raise InputError(reason)
        marks.install()
        session = self._prepare(inputVolume, maskVolume, prepared, bundle, device, progress)
        covariates = {"age": age, "sex": sex, "diagnosis": diagnosis}
        made = session.sample(
            **covariates, temperature=temperature, samples=samples, seed=seed, below=below, progress=progress
        )
        found = made.synthesis
        scans = {"mean": found.mean, "sd": found.sd, "below": found.below}
        arrays = {kind: None if scan is None else scan.data for kind, scan in scans.items()}
        outputVolume = results.writeResult(inputVolume, outputVolume, arrays, made.regions, found.provenance, below)
        results.showResult(outputVolume, inputVolume, "mean")
        return outputVolume

    def sweep(
        self,
        inputVolume,
        ages,
        sex=None,
        diagnosis=None,
        temperature=0.0,
        samples=1,
        seed=0,
        maskVolume=None,
        prepared=False,
        bundle=None,
        device="auto",
        progress=None,
    ):
        """PETs at several ages as a sequence with its browser, a table and a plot; arguments as ``synthesize``.

        :param ages: years.
        :return: what ``sweep.makeSweep`` made.
        :raises InputError: for an unusable volume or covariate, in one sentence for the user.
        """
        session = self._prepare(inputVolume, maskVolume, prepared, bundle, device, progress)
        steps = []

        def keep(age, made) -> None:
            about = {"age": age, "regions": made.regions, "provenance": made.synthesis.provenance}
            steps.append({**about, "mean": made.synthesis.mean.data})

        session.sweep(list(ages), sex, diagnosis, temperature, samples, seed, step=keep, progress=progress)
        return sweep.makeSweep(inputVolume, steps, steps[0]["provenance"])

    def _prepare(self, inputVolume, maskVolume, prepared, bundle, device, progress):
        """The session with the model and the patient in it; what it has already costs nothing."""
        if inputVolume is None:
            raise InputError(_("Choose a T1-weighted MRI of the brain."))
        volumes.usableVoxels(inputVolume)
        self._session = self._session or self._sessionFactory()
        self._session.open(bundle, device)
        self._session.prepare(
            lambda: volumes.scanFromVolume(inputVolume),
            lambda: None if maskVolume is None else volumes.maskOn(maskVolume, inputVolume),
            prepared=prepared,
            key=repr((volumes.stateOf(inputVolume), volumes.stateOf(maskVolume), prepared)),
            progress=progress,
        )
        return self._session


def _session():
    from DualGlowLib.synthesis.session import Session

    return Session(notice=slicer.util.infoDisplay)
