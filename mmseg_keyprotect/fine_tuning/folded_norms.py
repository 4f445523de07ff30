"""Keep batch norms without statistics as they are in a fine-tuning."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm

TOLERANCE = 1e-3
"""How far a variance of 1 may be off: some converters take the eps of the norm away from it."""


@HOOKS.register_module()
class FoldedNormsHook(Hook):
    """Keep batch norms in eval mode that hold no statistics, with mean 0 and variance 1, as weights are loaded.

    Their statistics were folded into the convolutions before them, as in weights from TensorFlow's DeepLab. In training
    mode they would normalise what is normalised already, and the model would lose what it learned.
    """

    def before_train(self, runner: Runner) -> None:
        """Find the norms once weights are loaded."""
        modules = runner.model.modules()
        self.norms = [norm for norm in modules if isinstance(norm, _BatchNorm) and _is_folded(norm)]
        if self.norms:
            runner.logger.info(f'{len(self.norms)} batch norms without statistics stay as they are')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Put the norms into eval mode, since loops put the whole model into training mode."""
        for norm in self.norms:
            norm.eval()


def _is_folded(norm: _BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    return bool((mean == 0).all()) and float((variance - 1).abs().max()) < TOLERANCE
