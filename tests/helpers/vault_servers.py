"""Servers of the key-value engine: a stand-in that speaks its HTTP interface, and a real one where it is installed."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = 'hvs.' + 'TokenOfTheTests'


class StandIn(BaseHTTPRequestHandler):
    """Answers as Vault's documentation of the KV engine says: version 2 at `secret/`, version 1 at `old/`."""

    def do_GET(self):
        self.server.asked.append(self.path)
        token, path = self.headers['X-Vault-Token'], self.path.removeprefix('/v1/')
        if path.startswith('raw/data/'):
            self.server.raw[path.removeprefix('raw/data/')](self)
        elif token != TOKEN:
            self.answer(403, dict(errors=['permission denied']))
        elif path in self.server.secrets:
            data = self.server.secrets[path]
            metadata = dict(created_time='2026-01-01T00:00:00Z', deletion_time='', destroyed=False, version=1)
            wrapped = dict(data=data, metadata=metadata) if '/data/' in path else data
            self.answer(200, dict(request_id='1', lease_id='', renewable=False, data=wrapped, auth=None))
        else:
            self.answer(404, dict(errors=[]))

    def answer(self, status, reply, **headers):
        body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        for name, value in {'Content-Type': 'application/json', 'Content-Length': str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client left
            self.wfile.write(body)

    def log_message(self, *args):
        """Log nothing."""


@contextlib.contextmanager
def stand_in(secrets):
    """Run the stand-in.

    Args:
        secrets: The fields of each path, such as `secret/data/mmseg/key`.
    """
    server = ThreadingHTTPServer(('127.0.0.1', 0), StandIn)
    server.daemon_threads, server.block_on_close = True, False
    server.secrets, server.raw, server.asked = secrets, {}, []
    server.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def real_server(folder):
    """Run OpenBao or Vault in its development mode, and yield its address; None where neither is installed."""
    program = shutil.which('bao') or shutil.which('vault')
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        place = f'127.0.0.1:{free.getsockname()[1]}'
    words = [program, 'server', '-dev', '-dev-no-store-token', f'-dev-root-token-id={TOKEN}']
    with open(folder / 'server.log', 'w') as log:
        process = subprocess.Popen([*words, f'-dev-listen-address={place}'], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                request(f'http://{place}', 'GET', 'sys/health')
                break
            except OSError:
                assert time.monotonic() < end, (folder / 'server.log').read_text()
                time.sleep(0.2)
        yield f'http://{place}'
    finally:
        process.kill()
        process.wait()


def request(url, method, path, body=None, token=TOKEN):
    """Ask a real server for something, without the library that is tested."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f'{url}/v1/{path}', data, {'X-Vault-Token': token}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10) as reply:
        return json.loads(reply.read() or b'{}')
