"""Two replicas behind nginx, as docs/serving.md configures it, one of which is killed: no request is lost."""

import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from service import events, expected, joined
from serving import ask, until
from test_completions_load import Process, bodies, process

from pellucid.generation.text_generator import open_text_generator
from pellucid.serve.http.keys import add_key
from pellucid.serve.http.listening import listen


pytestmark = pytest.mark.long
PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Proxy:
    """The address of nginx, as tests ask a service."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.url, self.key = port, f"http://127.0.0.1:{port}", key

    def post(self, body: dict[str, Any]) -> Any:
        asked = {"model": "org/tiny"} | body
        path = "/v1/completions"
        return ask(self, path, method="POST", body=asked, authorization=f"Bearer {self.key}")  # type: ignore[arg-type]


@contextmanager
def nginx(folder: Path, replicas: list[Process], key: str) -> Iterator[Proxy]:
    """The page's configuration with these replicas, on a free port; what it writes is in a folder."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    with listen("127.0.0.1", 0, 0) as probe:
        port = probe.getsockname()[1]
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    places = "".join(f"  {name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    text = (
        found[1].replace("listen 8000", f"listen 127.0.0.1:{port}").replace("http {\n", f"http {{\n  access_log off;\n{places}")
    )
    for name, replica in zip(("8001", "8002"), replicas, strict=True):
        text = text.replace(f"127.0.0.1:{name}", f"127.0.0.1:{replica.port}")
    user = "user root;\n" if Path(folder).owner() == "root" else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(f"{user}pid {folder}/pid;\nerror_log {folder}/errors;\ndaemon off;\n{text}", encoding="utf-8")
    running = subprocess.Popen([program, "-p", str(folder), "-e", f"{folder}/errors", "-c", str(configuration)])
    proxy = Proxy(port, key)
    try:
        until(lambda: _answers(proxy))
        yield proxy
    finally:
        running.terminate()
        running.wait(20)


def _answers(proxy: Proxy) -> bool:
    try:
        return ask(proxy, "/healthz").status == 200  # type: ignore[arg-type]
    except OSError:
        return False


def test_a_killed_replica_costs_no_request(tiny_run: Path, tmp_path: Path) -> None:
    keys, generator = tmp_path / "keys.json", open_text_generator(tiny_run)
    key = add_key(keys, "ada")
    mixed = bodies(16)
    wanted = [expected(generator, body) for body in mixed]
    with ExitStack() as stack:
        arguments = ("-m", f"org/tiny={tiny_run}", "--keys", str(keys))
        replicas = [stack.enter_context(process(*arguments)) for _ in range(2)]
        proxy = stack.enter_context(nginx(tmp_path, replicas, key))
        asked = threading.Semaphore(0)

        def answer(i: int) -> None:
            body = mixed[i % len(mixed)]
            answered = proxy.post(body)
            assert answered.status == 200, answered.body
            assert {name: answered.json()[name] for name in ("choices", "usage")} == wanted[i % len(mixed)]
            asked.release()

        with ThreadPoolExecutor(8) as several:
            running = [several.submit(answer, i) for i in range(200)]
            for _ in range(40):
                assert asked.acquire(timeout=60)
            replicas[0].process.send_signal(signal.SIGKILL)
            for one in running:
                one.result(120)
        for i, body in enumerate(mixed):
            assert joined(events(proxy.post(body | {"stream": True})))["choices"] == wanted[i]["choices"]
        refused = ask(proxy, "/v1/completions", method="POST", body={"model": "x"})  # type: ignore[arg-type]
        assert refused.status == 401
        slashes = "/v1/engines/org%2Ftiny/completions"
        through = ask(proxy, slashes, method="POST", body={"prompt": "the"}, authorization=f"Bearer {key}")  # type: ignore[arg-type]
        assert through.status == 200
        assert replicas[0].process.wait(20) == -9 and json.loads(through.body)["model"] == "org/tiny"
