"""Export models to ONNX, and run exported models, plain or sealed, by onnxruntime.

Running a model needs neither torch nor MMSegmentation.
"""

from typing import TYPE_CHECKING, Any

from mmseg_keyprotect.export.exported_model import ExportedModel

if TYPE_CHECKING:
    from mmseg_keyprotect.export.onnx_export import export_onnx as export_onnx

__all__ = ['ExportedModel', 'export_onnx']


def __getattr__(name: str) -> Any:
    if name == 'export_onnx':
        from mmseg_keyprotect.export.onnx_export import export_onnx

        return export_onnx
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
