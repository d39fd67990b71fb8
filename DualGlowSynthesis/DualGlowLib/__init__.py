"""DualGlowLib: from a T1 brain MRI to the distribution of FDG-PET images that go with it.

The library behind the DualGlow extension of 3D Slicer. It knows neither Qt nor Slicer, and importing it is cheap:
torch, SimpleITK and nibabel are imported by the rooms that use them (``flow``, ``model``, ``scans``, ``cases``,
``simulate``, ``bundle``, ``training``, ``synthesis``, ``evaluation``).

Reference: Sun H., Mehta R., Zhou H.H., Huang Z., Johnson S.C., Prabhakaran V., Singh V.,
"DUAL-GLOW: Conditional flow-based generative model for modality transfer", ICCV 2019.
"""

from .errors import InputError

__all__ = ["InputError", "__version__"]

__version__ = "0.1.0"
