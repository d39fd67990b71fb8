"""The T1 that ships with DualGlow, offered by Slicer's module Sample Data."""

from pathlib import Path

from slicer.i18n import tr as _

from DualGlowLib.resources import resource

__all__ = ["CATEGORY", "SAMPLE", "registerSampleData"]

CATEGORY = "DualGlow"

SAMPLE = "DualGlowTemplateT1"
"""The MNI152 average T1 (ICBM 152 nonlinear symmetric 2009a), brain only. Free to use: Resources/Template/NOTICE."""

CHECKSUM = "SHA256:c6f84e4411ed99ccc94aba1608f9b911a5984701a6550539df6c4734a2d6b0a2"

THUMBNAIL = Path(__file__).resolve().parent.parent / "Resources" / "Icons" / f"{SAMPLE}.png"


def registerSampleData() -> None:
    """Add our data to the module Sample Data; for the application's signal ``startupCompleted()``.

    The file is on the disk already, so nothing is fetched from the network. A whole head is ``MRHead``, which Slicer
    registers itself. Does nothing where Slicer runs without the module.
    """
    try:
        from SampleData import SampleDataLogic
    except ImportError:
        return
    if hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):  # Slicer 5.12
        SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("DualGlow"))
    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        uris=resource("Template", "mni152_t1.nii.gz").as_uri(),
        fileNames=f"{SAMPLE}.nii.gz",
        nodeNames=SAMPLE,
        thumbnailFileName=str(THUMBNAIL),
        checksums=CHECKSUM,
    )
