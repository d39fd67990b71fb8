"""Stand-ins of the CTK and qMRML widgets that our windows use; the qMRML ones live on the real MRML scene.

Each shows the properties, signals and slots that Slicer's class has under the same names. A widget that a window needs
and that is not here is refused by the loader of .ui files, so that it gets a stand-in first.
"""

from __future__ import annotations

from . import buttons, nodes, ranges, tables
from .nodes import qSlicerScriptedLoadableModuleWidget

__all__ = ["CTK", "QMRML", "qSlicerScriptedLoadableModuleWidget"]

CTK = (*buttons.CTK, *ranges.CTK)
QMRML = (*nodes.QMRML, *ranges.QMRML, tables.qMRMLTableView)
