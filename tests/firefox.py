"""Firefox, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi) over its own WebSocket: no driver, no package."""

import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import pytest


SECONDS = 90  # for an answer
LISTENS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


class Firefox:
    """A browser with one page."""

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        assert place.hostname is not None and place.port is not None
        self._socket = socket.create_connection((place.hostname, place.port), timeout=SECONDS)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /session HTTP/1.1", f"Host: {place.netloc}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
        ]  # fmt: skip
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._stream = self._socket.makefile("rb")
        assert b" 101 " in self._stream.readline()
        while self._stream.readline().strip():
            pass
        self._number = 0
        self.said: list[str] = []  # errors of pages
        self.version = self._ask("session.new", capabilities={})["capabilities"]["browserVersion"]
        self._ask("session.subscribe", events=["log.entryAdded"])
        self._page = self._ask("browsingContext.getTree")["contexts"][0]["context"]

    def go(self, address: str) -> None:
        """Opens an address."""
        self._ask("browsingContext.navigate", context=self._page, url=address, wait="complete")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, which may be a promise; as JSON."""
        wrapped = f"(async () => JSON.stringify((await ({expression})) ?? null))()"
        found = self._ask("script.evaluate", expression=wrapped, target={"context": self._page}, awaitPromise=True)
        assert found["type"] == "success", found
        return json.loads(found["result"]["value"])

    def until(self, expression: str) -> Any:
        """The value of an expression once it is true."""
        end = monotonic() + SECONDS
        while not (value := self.run(expression)):
            assert monotonic() < end, (expression, self.run("document.body.innerText.slice(0, 600)"), self.said)
            sleep(0.2)
        return value

    def close(self) -> None:
        """Closes the connection."""
        self._stream.close()
        self._socket.close()

    def _ask(self, method: str, **values: Any) -> Any:
        self._number += 1
        self._send(json.dumps({"id": self._number, "method": method, "params": values}).encode())
        while True:
            message = json.loads(self._receive())
            if message.get("id") == self._number:
                assert message["type"] == "success", message
                return message["result"]
            if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.said.append(str(message["params"]["text"]))

    def _send(self, data: bytes) -> None:
        """One text frame, masked, as a client's must be (RFC 6455, 5.2)."""
        size = len(data)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) if size < 65536 else b""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self._socket.sendall(b"\x81" + (length or b"\xff" + struct.pack(">Q", size)) + mask + masked)

    def _receive(self) -> bytes:
        """One message: frames until the last."""
        whole = b""
        while True:
            first, second = self._stream.read(2)
            size = second & 0x7F
            if size >= 126:
                (size,) = struct.unpack(*((">H", self._stream.read(2)) if size == 126 else (">Q", self._stream.read(8))))
            whole += self._stream.read(size)
            if first & 0x80:
                return whole


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """Starts Firefox without a window, its profile in a folder; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
    if path is None:
        pytest.skip("no Firefox: none of firefox-esr, firefox is here")
    profile, log = folder / "profile", folder / "firefox.log"
    profile.mkdir()
    command = [path, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "HOME": str(folder)})
    try:
        end = monotonic() + SECONDS
        while (found := LISTENS.search(log.read_text(encoding="utf-8", errors="replace"))) is None:
            assert process.poll() is None and monotonic() < end, log.read_text(encoding="utf-8", errors="replace")
            sleep(0.2)
        browser = Firefox(found[1])
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        process.wait(30)
