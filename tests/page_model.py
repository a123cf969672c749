"""A page's model in node: the session that its worker runs, asked from Python."""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node import node_process

from pellucid.serve.model_page.kernels import kernel
from pellucid.serve.model_page.page_model import EmbeddedModel


RELAXED = "--experimental-wasm-relaxed-simd"  # node 20 runs it with this option only, as later ones do without
ANSWER = """({ Session }) => {
  const bytesOf = (base64) => new Uint8Array(Uint8Array.from(Buffer.from(base64, "base64")).buffer);
  const around = { version: "0.1.0", machine: { platform: "node" }, freshSeed: () => 7n, pause: () => Promise.resolve() };
  let session;
  return async ({ open, generate, verify, call, args }) => {
    if (open) {
      const { page, ...coded } = open;
      const files = Object.fromEntries(Object.entries(coded).map(([name, base64]) => [name, bytesOf(base64)]));
      session = await Session.open({ page, ...files }, around);
      return session.kernel.variant;
    }
    if (generate) {
      const found = { events: [], record: null };
      const keep = (bytes) => (found.record = Buffer.from(bytes).toString("base64"));
      await session.generate(generate, (event) => found.events.push(event), keep, () => false);
      return found;
    }
    if (verify) {
      const report = await session.verify(bytesOf(verify), () => undefined);
      return JSON.parse(JSON.stringify(report, (_, value) => (value === Infinity ? "inf" : value)));
    }
    return session[call](...args);
  };
}"""


@contextmanager
def page_session(folder: Path, model: EmbeddedModel, *options: str) -> Iterator[Callable[[Any], Any]]:
    """Opens a model as a page does; asks as `ANSWER` answers."""
    with node_process(folder, 'export * from "./src/page/session.ts";', ANSWER, *options) as ask:
        files = {"relaxed": kernel("relaxed"), "exact": kernel("exact"), "weights": model.weights}
        coded = {name: base64.b64encode(data).decode() for name, data in files.items()}
        variant = ask({"open": {"page": model.page, **coded}})
        assert variant == ("WASM relaxed" if RELAXED in options else "WASM exact"), variant
        yield ask
