"""The C kernel as WebAssembly: builds `runtime/kernel` into the package, or checks that the package holds what it gives.

    python tools/wasm.py            both modules anew, into src/pellucid/assets/wasm
    python tools/wasm.py --check    changes nothing; exit 1 if a module differs from what is built (CI)

`relaxed.wasm` computes with relaxed SIMD, `exact.wasm` with SIMD128 alone (`runtime/kernel/vector.h`). Needs the Python package
ziglang, at the version that constraints.txt pins: another compiler gives other bytes. Users of the package need none.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / "src" / "pellucid" / "runtime" / "kernel"
SHIPPED = ROOT / "src" / "pellucid" / "assets" / "wasm"
NATIVE_ONLY = ("threads.c", "fingerprint.c")
TARGET = ("-target", "wasm32-wasi", "-mexec-model=reactor", "-O3", "-g0", "-msimd128", "-mbulk-memory")
# As `native` compiles it: each operation rounds as it is written.
COMPILE = ("-std=gnu11", "-fno-math-errno", "-ffp-contract=off", "-fno-sanitize=undefined")
LINK = ("-Wl,--strip-all", "-Wl,-z,stack-size=262144")
VARIANTS = {"relaxed": ("-mrelaxed-simd",), "exact": ()}


def pinned_version() -> str:
    """The version of ziglang in constraints.txt."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, number = line.partition("==")
        if name == "ziglang":
            return number
    sys.exit("constraints.txt pins no ziglang")


def check_compiler() -> None:
    """Stops unless ziglang is there at its pinned version."""
    pinned = pinned_version()
    try:
        installed = version("ziglang")
    except PackageNotFoundError:
        installed = "not installed"
    if installed != pinned:
        sys.exit(f"needs ziglang {pinned}, which is {installed} here: pip install -c constraints.txt -e '.[dev]'")


def zig(*arguments: str) -> None:
    """Runs the C compiler. Stops with its output where it fails."""
    call = [sys.executable, "-m", "ziglang", "cc", *arguments]
    # Whatever flags the caller's shell has for a C compiler would change the bytes.
    environment = {name: value for name, value in os.environ.items() if name not in ("CFLAGS", "CPATH", "C_INCLUDE_PATH")}
    done = subprocess.run(call, capture_output=True, encoding="utf-8", env=environment, cwd=KERNEL, check=False)
    if done.returncode:
        sys.exit(f"zig cc {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def build(folder: Path) -> None:
    """Compiles and links both modules into a folder."""
    sources = [path for path in sorted(KERNEL.glob("*.c")) if path.name not in NATIVE_ONLY] + sorted(KERNEL.glob("wasm/*.c"))
    with tempfile.TemporaryDirectory() as objects:
        for name, flags in VARIANTS.items():
            compiled = []
            for source in sources:
                compiled.append(str(Path(objects) / f"{name}-{source.stem}.o"))
                zig(*TARGET, *COMPILE, *flags, "-c", "-o", compiled[-1], source.relative_to(KERNEL).as_posix())
            zig(*TARGET, *LINK, "-o", str(folder / f"{name}.wasm"), *compiled, "-lm")
            (folder / f"{name}.wasm").chmod(0o644)


def main() -> int:
    """Builds or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing in the package; exit 1 if it would change")
    check = parser.parse_args().check
    check_compiler()
    if not check:
        SHIPPED.mkdir(exist_ok=True)
        build(SHIPPED)
        return 0
    different = False
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        for built in sorted(Path(folder).glob("*.wasm")):
            shipped = SHIPPED / built.name
            if not shipped.exists() or shipped.read_bytes() != built.read_bytes():
                print(f"{shipped.relative_to(ROOT)} is not what the kernel gives: python tools/wasm.py", file=sys.stderr)
                different = True
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
