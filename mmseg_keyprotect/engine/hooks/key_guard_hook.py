"""The hook that checks that key, configuration and checkpoint belong together."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.config.checks import check_config, raise_problems
from mmseg_keyprotect.config.view import find_protections
from mmseg_keyprotect.engine.architecture import refuse_other_architectures
from mmseg_keyprotect.engine.sealed_checkpoints import SCHEME
from mmseg_keyprotect.errors import ConfigError, DamagedFileError, WrongKeyError
from mmseg_keyprotect.keys.identity import META_KEY, PARTS, Identity, identities_of, joined
from mmseg_keyprotect.keys.providers import seal_key
from mmseg_keyprotect.models.stem.tied_stem import TiedBlockStem


@HOOKS.register_module()
class KeyGuardHook(Hook):
    """Check the configuration before the run, and the key of every checkpoint.

    - Before the run, the hook reports every problem of the configuration at once.
    - As a checkpoint is saved, it writes spec version, key id and cipher into ``meta['keyprotect']``.
    - As a checkpoint is loaded or resumed, it compares them with those of the run.

    Args:
        on_mismatch: ``'error'``, or ``'warn'`` to load a checkpoint of another key, or an unprotected one, on
            purpose: to evaluate it, or to fine-tune from it.
        seal: Whether to seal every checkpoint as it is saved, with the state of its optimizer. It then loads as
            ``sealed://WORK_DIR/iter_N.pth``.

    Raises:
        ConfigError: The configuration has several problems, or one that has no error of its own; or an EMAHook averages
            the state dict of a tied block stem.
        WrongKeyError: A checkpoint belongs to another key or cipher, or to none, or the processes have different keys.
        CheckpointError: A checkpoint that names another key, or none, is one of another architecture.
        DamagedFileError: What a checkpoint says of its key is damaged.
        UnsupportedSpecError: A checkpoint has a newer spec version.

    Example:
        In a configuration::

            custom_hooks = [dict(type='KeyGuardHook')]
    """

    priority = 'VERY_HIGH'

    identity: Identity
    """The public identity of the key and the cipher; set before the run."""

    def __init__(self, on_mismatch: str = 'error', seal: bool = False) -> None:
        if on_mismatch not in ('error', 'warn'):
            raise ConfigError(f"Expected `on_mismatch` to be 'error' or 'warn', but got {on_mismatch!r}. Set one.")
        self.on_mismatch, self.seal = on_mismatch, seal
        self._parts: dict[str, Identity] = {}

    def before_run(self, runner: Runner) -> None:
        """Check the configuration, find the identity of the key, and redirect checkpoints to be sealed if asked to."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(model, 'module', model)  # test-time augmentation wraps the segmentor
        if any(isinstance(module, TiedBlockStem) for module in model.modules()):
            _check_averages(runner)
        self._parts = identities_of(model)
        parts = list(self._parts.values())
        if runner.cfg or not parts:  # a Runner can be built without a configuration
            raise_problems(check_config(runner.cfg))
            protections = find_protections(runner.cfg.to_dict())
            if protections and PARTS[0] not in self._parts:  # the pipelines encrypt
                cipher = KeyedCipher(**protections[0].cipher_arguments)
                parts.insert(0, Identity(cipher.key_id, cipher.name))
        self.identity = joined(parts)
        if len(set(all_gather_object(self.identity))) > 1:
            raise WrongKeyError('Expected the same key in every process, but got several. Give all the same key file.')
        if self.seal:
            self._seal_checkpoints(runner)
        print_log(f'Protected with the key {self.identity.key_id} by {self.identity.cipher}.', logger='current')

    def _seal_checkpoints(self, runner: Runner) -> None:
        """Make every CheckpointHook of the run save to ``sealed://``."""
        seal_key()  # reports a missing key before the training, not after it
        for hook in runner.hooks:
            if not isinstance(hook, CheckpointHook) or str(hook.out_dir or '').startswith(SCHEME):
                continue
            if hook.file_client_args or (hook.backend_args or {}).get('backend') or '://' in str(hook.out_dir or ''):
                raise ConfigError(
                    'Expected checkpoints on the local disk, to seal them, but default_hooks.checkpoint saves them '
                    'elsewhere by out_dir, backend_args or file_client_args. Remove those, or set seal=False.'
                )
            folder = hook.out_dir or Path(runner.work_dir).parent  # the hook appends the name of the work_dir
            hook.out_dir = f'{SCHEME}{folder}'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Write the identity of the key into the checkpoint's meta."""
        checkpoint['meta'][META_KEY] = self.identity.to_meta()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the identity in the checkpoint with that of the run."""
        try:
            self.identity.check(Identity.from_meta(checkpoint.get('meta', {}).get(META_KEY)))
        except (WrongKeyError, DamagedFileError) as error:
            if self.on_mismatch == 'error':
                model = runner.model.module if is_model_wrapper(runner.model) else runner.model
                refuse_other_architectures(getattr(model, 'module', model), checkpoint.get('state_dict', checkpoint))
                raise
            warnings.warn(f'Loaded on purpose, since on_mismatch is "warn": {error}', stacklevel=2)
            state = checkpoint.setdefault('state_dict', checkpoint)
            for name, identity in self._parts.items():
                state[f'{name}.protection'] = identity.to_tensor()


def _check_averages(runner: Runner) -> None:
    """Raise ConfigError where a hook writes averages into the state dict of a tied stem, which holds no parameters."""
    for hook in runner.hooks:
        if not isinstance(hook, EMAHook):
            continue
        # until it starts, the hook copies the state dict
        late = [f'{name}={getattr(hook, name)}' for name in ('begin_iter', 'begin_epoch') if getattr(hook, name) > 1]
        buffers = ['update_buffers=True'] if hook.ema_cfg.get('update_buffers') else []
        if wrong := late + buffers:
            raise ConfigError(
                'Expected an EMAHook that starts at once and averages parameters, since the model has a tied block '
                f'stem, but got {", ".join(wrong)}. Leave that out, or set model.block_stem=dict(tied=False).'
            )
