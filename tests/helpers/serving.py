"""The servers of examples/serving, each in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from helpers import ROOT

SERVING = ROOT / 'examples' / 'serving'


@contextmanager
def running(script, *words, **variables):
    """Run a server in a process of its own; yield its address."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith('KEYPROTECT')}
    env |= dict(PYTHONPATH=str(ROOT), **variables)
    command = [sys.executable, str(SERVING / script), *map(str, words), '--port', str(port)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f'http://127.0.0.1:{port}'
    try:
        for _ in range(600):
            assert process.poll() is None, process.stdout.read()
            try:
                urllib.request.urlopen(f'{url}/about')
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.communicate()


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def post(url, content, kind='image/png'):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content, {'Content-Type': kind})) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
