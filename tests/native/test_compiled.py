"""Where there is a C compiler, what is compiled is compiled: tests that need it are skipped only where there is none."""

import os

import pytest

from pellucid.native.compiler import compiler
from pellucid.native.errors import Unavailable
from pellucid.native.operators import library as operators
from pellucid.runtime.kernel import library as kernel


@pytest.mark.parametrize("library", [kernel, operators], ids=["kernel", "operators"])
def test_what_is_in_c_compiles_and_loads(library: object) -> None:
    try:
        compiler()
    except Unavailable as reason:
        pytest.skip(str(reason))
    if os.environ.get("PELLUCID_KERNEL") == "off":
        pytest.skip("PELLUCID_KERNEL=off")
    assert library.unavailable_reason() is None  # type: ignore[attr-defined]
