"""Models as programs that run without them: exporting, and running what was exported.

Runners are imported by their modules, ``fiber_mmdet.export.runner`` and ``…image_text_runner``;
they need neither torch nor mmdet and are copied beside the programs as ``fiber_runner``.
"""

from .exporting import Exported, export_model
from .programs import CannotExport

__all__ = ['CannotExport', 'Exported', 'export_model']
