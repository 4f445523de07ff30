"""Runs the code blocks of a page in its order, as a reader in one shell and one Python session would."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MessageHub, MMLogger
from mmseg.registry import MODELS
from mmseg.visualization import SegLocalVisualizer

from helpers import ROOT
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config.checks import check_config, raise_problems
from mmseg_keyprotect.config.datasets import find_chains

SHELLS = ('bash', 'sh', 'shell')
SHELL_SYNTAX = re.compile(r'[|<>;&*?`]|\$\(')
COMPOUND = re.compile(r'<<|^\s*(for|while|if|case|function)\b', re.MULTILINE)


class BlockError(Exception):
    """A block of a page failed."""


def check_as_config(path, text):
    """Write a block to a file, and build the pipelines and the model of the config that it is."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding='utf-8')
    cfg = Config.fromfile(path)
    if not re.search('LoadEncryptedImage|PrivateSideSegmentor', text):  # such a model has no key to check
        raise_problems(check_config(cfg))
    for chain in find_chains(cfg.to_dict()):
        Compose(chain.steps)
    MODELS.build(cfg.model)


class PageRunner:
    """The shell and the Python session of one page.

    ``keyprotect`` runs in this process, since each start of torch takes seconds. Everything else runs in bash, with a
    ``keyprotect`` and a ``python`` of this environment on its path. Changes of the folder and of variables last until
    the end of the page.

    Args:
        folder: Folder in which the page starts.
    """

    def __init__(self, folder):
        self.names = {'__name__': '__main__'}
        self.bin, self.state = Path(folder) / '.bin', Path(folder) / '.state'
        self.bin.mkdir()
        for name, command in dict(keyprotect='-m mmseg_keyprotect', python='', python3='').items():
            path = self.bin / name
            path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
            path.chmod(0o755)
        os.environ['PATH'] = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ['PATH']])
        os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])

    def run(self, block, source):
        """Run a block.

        Args:
            block: A :class:`helpers.markdown.Block` of bash or Python.
            source: Name of the page, for messages.

        Raises:
            BlockError: The block failed.
        """
        try:
            if block.mark == 'config':
                check_as_config(block.note, block.text)
            elif block.language == 'python':
                exec(compile('\n' * (block.line - 1) + block.text, source, 'exec'), self.names)
            else:
                self.shell(block.text)
        except BlockError as error:
            raise BlockError(f'{source}, block at line {block.line}: {error}') from error
        except (Exception, SystemExit) as error:
            raise BlockError(f'{source}, block at line {block.line}: {error!r}') from error

    def shell(self, text):
        """Run a block of bash."""
        if COMPOUND.search(text):
            return self.bash(text)
        pending = []
        for line in re.sub(r'\\\n\s*', ' ', text).splitlines():
            bare = re.sub(r'(^|\s)#.*$', '', line).strip()
            if bare.startswith('keyprotect ') and not SHELL_SYNTAX.search(bare):
                self.bash('\n'.join(pending))
                pending.clear()
                self.keyprotect(bare)
            elif bare:
                pending.append(bare)
        self.bash('\n'.join(pending))

    def keyprotect(self, line):
        """Run a command in this process; everything but exit code 0 is an error."""
        for kind in (MMLogger, MessageHub, SegLocalVisualizer):  # mmengine keeps them for the whole process
            kind._instance_dict.clear()
        before = sys.argv
        try:
            code = main([os.path.expanduser(word) for word in shlex.split(os.path.expandvars(line))[1:]])
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.argv = before
        if code:
            raise BlockError(f'exit code {code} from `{line}`')

    def bash(self, text):
        """Run lines in bash, then take over its variables and its folder."""
        if not text:
            return
        script = f'set -aeuo pipefail\n{text}\npwd >"$PAGE_STATE"\nenv -0 >>"$PAGE_STATE"'
        env = dict(os.environ, PAGE_STATE=str(self.state))
        done = subprocess.run(['bash', '-c', script], capture_output=True, text=True, env=env)
        print(done.stdout, end='')
        if done.returncode:
            raise BlockError(f'exit code {done.returncode} from bash:\n{text}\n{done.stdout}{done.stderr}'[-4000:])
        folder, _, variables = self.state.read_text().partition('\n')
        os.chdir(folder)
        os.environ.update(entry.split('=', 1) for entry in variables.split('\0') if entry)
