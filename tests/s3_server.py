"""moto's S3 server on loopback in a process of its own, with failures on request.

Tests use `S3`; run as a program, this file is the server. `faults.json` contains how many of the next requests whose
method, path or query match a regular expression fail (-1: all).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

BUCKET = "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3:
    """Server with one bucket; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._faults, self._port = folder / "faults.json", folder / "port"
        self._log = folder / "server.log"

    def __enter__(self) -> S3:
        with self._log.open("w") as log:
            command = [sys.executable, __file__, str(self._port), str(self._faults)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 240
        while not self._port.exists():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.1)
        self.endpoint = f"127.0.0.1:{self._port.read_text()}"
        self._request("PUT", f"/{BUCKET}")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()

    def address(self, folder: str) -> str:
        return f"s3://{BUCKET}/{folder}?endpoint_override={self.endpoint}&scheme=http"

    def fail(self, times: int, pattern: str = "", code: int = 503) -> None:
        """Let the next requests whose method, path or query match a regular expression fail."""
        temporary = self._faults.with_suffix(".part")
        temporary.write_text(json.dumps({"times": times, "text": pattern, "code": code}))
        temporary.replace(self._faults)

    def _request(self, method: str, path: str) -> None:
        request = urllib.request.Request(f"http://{self.endpoint}{path}", method=method)
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(request, timeout=30).read()
                return
            except urllib.error.URLError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


class Faulty:
    """Application that fails according to a file."""

    def __init__(self, app: Any, faults: Path) -> None:
        self._app, self._faults = app, faults

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        fault = json.loads(self._faults.read_text()) if self._faults.exists() else {"times": 0}
        if fault["times"] and re.search(fault["text"], request):
            self._faults.write_text(json.dumps({**fault, "times": fault["times"] - 1 if fault["times"] > 0 else -1}))
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{fault['code']} Told to fail", [("Content-Length", "0")])
            return [b""]
        return self._app(environ, start)


def serve(port_file: Path, faults: Path) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = Faulty(DomainDispatcherApplication(create_backend_app), faults)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    temporary = port_file.with_suffix(".part")
    temporary.write_text(str(server.port))
    temporary.replace(port_file)
    server.serve_forever()


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
