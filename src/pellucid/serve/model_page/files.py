"""What runs a model in a page: its weights, the kernel in both variants, and the worker's script."""

import base64

from pellucid.serve.model_page.drawing import page_drawing
from pellucid.serve.model_page.kernels import kernel
from pellucid.serve.model_page.page_model import EmbeddedModel
from pellucid.serve.page_wire import PageFiles
from pellucid.serve.studio.page import asset


def page_files(model: EmbeddedModel) -> PageFiles:
    """A model with everything that a page needs to run it. Raises PellucidError where this installation lacks a part."""
    weights, relaxed, exact = (
        base64.b64encode(data).decode("ascii") for data in (model.weights, kernel("relaxed"), kernel("exact"))
    )
    worker = asset("worker.js").decode("utf-8")
    return PageFiles(
        model=model.page, weights=weights, relaxed=relaxed, exact=exact, worker=worker, drawing=page_drawing()
    )  # fmt: skip
