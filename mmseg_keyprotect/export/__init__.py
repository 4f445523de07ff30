"""Export models to ONNX, and run exported models, plain or sealed, by onnxruntime."""

from mmseg_keyprotect.export.exported_model import ExportedModel
from mmseg_keyprotect.export.onnx_export import export_onnx

__all__ = ['ExportedModel', 'export_onnx']
