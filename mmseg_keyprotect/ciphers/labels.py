"""The values by which ground truth is extended to whole blocks: those that its losses ignore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmseg_keyprotect.errors import ConfigError

LABEL_PAD_VALS = {'gt_edge_map': 255, 'gt_depth_map': 0}
"""The values for MMSegmentation's maps beside segmentation.

BoundaryLoss counts 0 and 1 alone, and SiLogLoss depths above 0; to it a padding of 255 would be a distance.
"""


class LabelPadding:
    """The ignored value of each kind of ground truth.

    Args:
        segmentation: What a segmentation map is called: ``gt_seg_map`` in a pipeline, ``gt_sem_seg`` in a data sample.
        seg_pad_val: The ignore index of segmentation maps.
        further: Values of further kinds by their names, or in place of
            :data:`~mmseg_keyprotect.ciphers.labels.LABEL_PAD_VALS`.

    Example:
        >>> LabelPadding('gt_sem_seg', 255, dict(gt_height_map=-1)).value('gt_height_map')
        -1
    """

    def __init__(self, segmentation: str, seg_pad_val: float, further: Mapping[str, float] | None = None) -> None:
        self._values = {**LABEL_PAD_VALS, segmentation: seg_pad_val, **(further or {})}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str) -> float:
        """Return the value that extends one kind of ground truth."""
        return self._values[name]

    def check(self, names: Iterable[str]) -> None:
        """Refuse ground truth whose ignored value is unknown.

        Raises:
            ConfigError: A name is unknown.
        """
        for name in names:
            if name not in self:
                raise ConfigError(
                    f'Expected ground truth of the kinds {sorted(self._values)}, but got {name}. Set the value that '
                    f'its loss ignores, label_pad_vals=dict({name}=VALUE), where images are encrypted.'
                )
