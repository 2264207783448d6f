"""The status page: five camera views and the status, on the loopback interface only.

Standard library only. The server's threads answer from what the monitor's loop left: a finished
JSON text and the newest JPEG of each view. It costs nothing until somebody opens the page:
`watched()` says whether pictures are asked for, and the loop subscribes to the cameras only then.
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
import json
import threading
import time

from vla_cli.monitor.snapshot import Snapshot
from vla_core.errors import VlaError

WATCHED_S = 3.0  # after the last request for a picture
_HOSTS = ('127.0.0.1', 'localhost', '[::1]')


class StatusPage:
    """Serves in threads of its own. The loop calls `update` and `watched`; one lock guards the
    contents.
    """

    def __init__(self, port: int, views: tuple[str, ...]):
        self._lock = threading.Lock()
        self._status = b'{}'
        self._images: dict[str, tuple[int, bytes]] = {}
        self._asked_s = float('-inf')
        page = files('vla_cli.monitor').joinpath('page.html').read_text(encoding='utf-8')
        self._page = page.replace('/*VIEWS*/', json.dumps(views)).encode()
        handler = type('Handler', (_Handler,), {'page': self})
        try:
            self._server = _Server(('127.0.0.1', port), handler)
        except OSError as error:
            raise VlaError(
                f'port {port} is in use: give the status page another one with --web PORT '
                f'({error.strerror})'
            ) from error
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        self._thread = threading.Thread(target=self._server.serve_forever, name='web', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def watched(self) -> bool:
        """Say whether a page is open that shows pictures."""
        return time.monotonic() - self._asked_s < WATCHED_S

    def update(self, snapshot: Snapshot, images: dict[str, tuple[int, bytes]]) -> None:
        """Leave the newest status and pictures for the server's threads."""
        status = json.dumps(snapshot.to_json()).encode()
        with self._lock:
            self._status = status
            self._images = dict(images)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return HTTP status, content type and body for a path."""
        if path == '/':
            return 200, 'text/html; charset=utf-8', self._page
        if path == '/status.json':
            with self._lock:
                return 200, 'application/json', self._status
        if path.startswith('/view/') and path.endswith('.jpg'):
            self._asked_s = time.monotonic()
            with self._lock:
                _, jpeg = self._images.get(path[len('/view/') : -len('.jpg')], (0, b''))
            return (200, 'image/jpeg', jpeg) if jpeg else (204, 'image/jpeg', b'')
        return 404, 'text/plain', b'not here: /, /status.json, /view/<name>.jpg'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class _Handler(BaseHTTPRequestHandler):
    """One request. `page` is set by StatusPage."""

    protocol_version = 'HTTP/1.1'
    timeout = 30
    page: StatusPage

    def do_GET(self):  # noqa: N802 - the name is http.server's
        """Answer one GET."""
        host = self.headers.get('Host', '').rpartition(':')[0] or self.headers.get('Host', '')
        if host not in _HOSTS:  # a foreign page must not read the cameras through a rebound name
            status, kind, body = 403, 'text/plain', b'only by the address of this machine'
        else:
            status, kind, body = self.page.answer(self.path.partition('?')[0])
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Cache-Control', 'no-store')
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the page was closed

    def log_message(self, format, *args):  # noqa: A002
        """Say nothing: the terminal belongs to the monitor."""
