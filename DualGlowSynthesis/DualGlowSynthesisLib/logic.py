"""Synthesis without a window: from one volume node to another, for scripts."""

from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from DualGlowLib import InputError
from DualGlowLib.provenance import over_ages, with_covariates
from DualGlowLib.synthesis.question import Question
from DualGlowLib.worker.replies import Sampled, Step
from DualGlowSlicerLib import volumes
from DualGlowSlicerLib.messages import showNotice

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
        covariates=None,
        *,
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
        **more,
    ):
        """Synthesize the FDG-PET (SUVR) of a T1-weighted MRI on the MRI's own lattice, and show it over the MRI.

        :param temperature: factor on the latent noise; 0 gives the most likely image.
        :param samples: the result is the mean of this many; of several, their SD, the probability to lie ``below`` a
          SUVR, and the regions' table are nodes that the output refers to (``results.resultOf``).
        :param outputVolume: volume to write to: one without voxels, or a former result of the same MRI; a new one if
          None.
        :param maskVolume: brain mask on the MRI's voxels; found if None.
        :param prepared: whether the MRI is as the prepare command writes it.
        :param bundle: folder of the model; None for the one that ships.
        :param progress: called with a stage's name and a fraction 0..1.
        :param covariates: ``age``, ``sex``, ``diagnosis`` and whatever else the model knows, by name; None or left out
          if unknown.
        :param more: the same as keywords, ``age=72``.
        :return: the output volume.
        :raises InputError: for an unusable volume or covariate, in one sentence for the user.
        """
        if inputVolume is not None and (reason := belonging.reasonAgainstOutput(outputVolume, inputVolume)):
            raise InputError(reason)
        marks.install()
        session = self._prepare(inputVolume, maskVolume, prepared, bundle, device, progress)
        made = session.sample(Question({**(covariates or {}), **more}, temperature, samples, seed, below), progress)
        arrays = (None if scan is None else scan.data for scan in (made.mean, made.sd, made.below))
        found = Sampled(*arrays, made.regions, made.provenance, session.device)
        outputVolume = results.writeResult(inputVolume, outputVolume, found, below)
        results.showResult(outputVolume, inputVolume, "mean")
        return outputVolume

    def sweep(
        self,
        inputVolume,
        ages,
        covariates=None,
        *,
        temperature=0.0,
        samples=1,
        seed=0,
        maskVolume=None,
        prepared=False,
        bundle=None,
        device="auto",
        progress=None,
        **more,
    ):
        """PETs at several ages as a sequence with its browser, a table and a plot; arguments as ``synthesize``.

        :param ages: years.
        :return: what ``sweep.makeSweep`` made.
        :raises InputError: for an unusable volume or covariate, in one sentence for the user.
        """
        session = self._prepare(inputVolume, maskVolume, prepared, bundle, device, progress)
        steps = []

        def keep(age, made) -> None:
            steps.append(Step(age, made.mean.data, made.regions, made.provenance, session.device))

        session.sweep(Question({**(covariates or {}), **more}, temperature, samples, seed), list(ages), keep, progress)
        about = over_ages([step.provenance for step in steps], [step.age for step in steps])
        return sweep.makeSweep(inputVolume, steps, with_covariates(about, {"age": steps[0].age}))

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

    return Session(notice=showNotice)
