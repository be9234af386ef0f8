"""A CRDS server on this machine that gives the content of a cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from crds_cache import CrdsCache

__all__ = ["serve"]


@contextlib.contextmanager
def serve(cache: CrdsCache) -> Iterator[tuple[str, list[str]]]:
    """Serve rules and files of a cache; give the address, and what has been asked for so far."""
    files = {p.name: p for p in cache.folder.rglob("*") if p.is_file() and "config" not in p.parts}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            method = self.path.split("/")[2]
            asked.append(method)
            answer = getattr(self, method, None)
            if answer is None:
                self._send({"result": None, "error": {"message": f"no method {method}"}})
            else:
                self._send({"result": answer(), "error": None})

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            asked.append(name)
            self._bytes(files[name].read_bytes())

        def get_server_info(self) -> dict[str, Any]:
            where = {"jwst": f"{address}/files/"}
            return {
                **cache.information,
                "crds_version": {"str": "14"},
                "reference_url": {"unchecked": where},
                "mapping_url": {"unchecked": where},
                "download_metadata": {n: _about(p) for n, p in files.items()},
            }

        def get_build_context(self) -> str:
            return cache.context

        def get_mapping_names(self) -> list[str]:
            return [n for n in files if n.endswith("map")]

        def _send(self, content: dict[str, Any]) -> None:
            self._bytes(json.dumps(content).encode())

        def _bytes(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    address = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address, asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _about(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    return {"size": str(len(content)), "sha1sum": hashlib.sha1(content).hexdigest()}
