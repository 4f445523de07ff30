"""Run a model in two parts: a public one on any machine, and a private one where the key is.

Running the parts needs neither torch nor MMSegmentation.
"""

from typing import TYPE_CHECKING, Any

from mmseg_keyprotect.split.message import FeatureMessage
from mmseg_keyprotect.split.parts import PrivatePart, PublicPart

if TYPE_CHECKING:
    from mmseg_keyprotect.split.writing import split_model as split_model

__all__ = ['FeatureMessage', 'PrivatePart', 'PublicPart', 'split_model']


def __getattr__(name: str) -> Any:
    if name == 'split_model':
        from mmseg_keyprotect.split.writing import split_model

        return split_model
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
