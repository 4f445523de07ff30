"""The hook that keeps key, configuration and checkpoint together."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.config.checks import check_config, raise_problems
from mmseg_keyprotect.config.view import find_protections
from mmseg_keyprotect.engine.sealed_checkpoints import SCHEME
from mmseg_keyprotect.errors import ConfigError, DamagedFileError, WrongKeyError
from mmseg_keyprotect.keys.identity import META_KEY, PARTS, Identity, identities_of, joined
from mmseg_keyprotect.keys.providers import seal_key


@HOOKS.register_module()
class KeyGuardHook(Hook):
    """Check the configuration before anything runs, and the key of every checkpoint.

    - Before the run: reports every problem of the configuration at once.
    - On saving: writes spec version, key id and cipher into the checkpoint's ``meta['keyprotect']``.
    - On loading and resuming: compares them.

    Args:
        on_mismatch: ``'error'``, or ``'warn'`` to load a checkpoint of another key, or of none, on purpose: to
            evaluate it, or to fine-tune from an unprotected model.
        seal: Whether checkpoints are sealed as they are saved, the state of the optimizer with them; they are then
            ``sealed://WORK_DIR/iter_N.pth``.

    Raises:
        ConfigError: Several problems, or one of its own; else the error of the one problem.
        WrongKeyError: A checkpoint is of another key or cipher, or of none, or the processes have different keys.
        UnsupportedSpecError: A checkpoint is of a newer spec version.
    """

    priority = 'VERY_HIGH'

    def __init__(self, on_mismatch: str = 'error', seal: bool = False) -> None:
        if on_mismatch not in ('error', 'warn'):
            raise ConfigError(f"Expected `on_mismatch` to be 'error' or 'warn', but got {on_mismatch!r}.")
        self.on_mismatch, self.seal = on_mismatch, seal
        self.identity: Identity | None = None
        self._parts: dict[str, Identity] = {}

    def before_run(self, runner: Runner) -> None:
        """Check the configuration, learn the identity of the key, and let checkpoints be saved sealed if asked to."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(model, 'module', model)  # without the wrapper of test-time augmentation
        self._parts = identities_of(model)
        parts = list(self._parts.values())
        if runner.cfg or not parts:  # a runner may be built by hand, without a configuration
            raise_problems(check_config(runner.cfg))
            protections = find_protections(runner.cfg.to_dict())
            if protections and PARTS[0] not in self._parts:  # the pipelines encrypt
                cipher = KeyedCipher(**protections[0].cipher_arguments)
                parts.insert(0, Identity(cipher.key_id, cipher.name))
        self.identity = joined(parts)
        if len(set(all_gather_object(self.identity))) > 1:
            raise WrongKeyError('Expected the same key in every process, but they differ. Give all the same key file.')
        if self.seal:
            self._seal_checkpoints(runner)
        print_log(f'Protected with the key {self.identity.key_id} by {self.identity.cipher}.', logger='current')

    def _seal_checkpoints(self, runner: Runner) -> None:
        seal_key()  # a missing key is found before the training, not after it
        for hook in runner.hooks:
            if not isinstance(hook, CheckpointHook) or str(hook.out_dir or '').startswith(SCHEME):
                continue
            if hook.file_client_args or (hook.backend_args or {}).get('backend') or '://' in str(hook.out_dir or ''):
                raise ConfigError(
                    'Expected checkpoints on the local disk, to seal them, but default_hooks.checkpoint sends them '
                    'elsewhere by out_dir, backend_args or file_client_args. Take those out, or set seal=False.'
                )
            folder = hook.out_dir or Path(runner.work_dir).parent  # to which the hook adds the work_dir's name
            hook.out_dir = f'{SCHEME}{folder}'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Write the identity into the checkpoint's meta."""
        checkpoint['meta'][META_KEY] = self.identity.to_meta()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the checkpoint's identity with that of the key."""
        try:
            self.identity.check(Identity.from_meta(checkpoint.get('meta', {}).get(META_KEY)))
        except (WrongKeyError, DamagedFileError) as error:
            if self.on_mismatch == 'error':
                raise
            warnings.warn(f'Loaded on purpose, since on_mismatch is "warn": {error}', stacklevel=2)
            state = checkpoint.setdefault('state_dict', checkpoint)
            for name, identity in self._parts.items():
                state[f'{name}.protection'] = identity.to_tensor()
