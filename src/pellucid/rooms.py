"""Rooms that are also functions: `pellucid.train` is a package, and `pellucid.train(...)` trains.

A package and a function cannot share a name otherwise: whichever is imported last would hide the other.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(room: str, function: Callable[..., Any]) -> None:
    """Makes the module `room` callable: calling it calls `function`.

    Python lets a module's class be replaced by a subclass of `ModuleType` (Python language reference, 3.3.2.1).
    """

    class CallableRoom(ModuleType):
        __wrapped__ = staticmethod(function)  # what inspect.signature and help look at

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    sys.modules[room].__class__ = CallableRoom
