"""`pellucid.xray`, `pellucid.prime` and `pellucid.verify`."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from pellucid import record as records
from pellucid.api.records import Record
from pellucid.interpret import capture, priming
from pellucid.interpret.verify.verify import verify


__all__ = ["prime", "verify", "xray"]

P = ParamSpec("P")


def _public_record(function: Callable[P, records.Record]) -> Callable[P, Record]:
    """The same function, returning the public `Record` over the file that it returned open."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Record:
        made = function(*args, **kwargs)
        return Record(made.detach(), made.path)

    return call


xray = _public_record(capture.xray)
prime = _public_record(priming.prime)
