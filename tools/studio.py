"""The browser's side: builds `studio/` into the package, or checks that the package holds what its sources give.

    python tools/studio.py            npm ci, and the bundles anew into src/pellucid/assets/studio
    python tools/studio.py --check    npm ci, types, tests; exit 1 if a bundle differs from what is built (CI)

Needs node (20 or newer) and npm; users of the package need neither.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
STUDIO = ROOT / "studio"
SHIPPED = ROOT / "src" / "pellucid" / "assets" / "studio"


def npm(*arguments: str) -> None:
    """Runs npm in studio/. Stops with its output where it fails."""
    path = shutil.which("npm")
    if path is None:
        sys.exit("npm is not installed: install Node.js 20 or newer")
    done = subprocess.run([path, *arguments], cwd=STUDIO, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"npm {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def differences(built: Path) -> list[str]:
    """The files that are not the same in a folder and in the package."""
    names = {path.name for folder in (built, SHIPPED) for path in folder.iterdir()}

    def content(path: Path) -> bytes | None:
        return path.read_bytes() if path.exists() else None

    return [name for name in sorted(names) if content(built / name) != content(SHIPPED / name)]


def main() -> int:
    """Builds or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing in the package; exit 1 if it would change")
    check = parser.parse_args().check
    npm("ci")
    if not check:
        npm("run", "build")
        return 0
    npm("run", "check")
    npm("test")
    with tempfile.TemporaryDirectory() as folder:
        npm("run", "build", "--", "--out", folder)
        found = differences(Path(folder))
    for name in found:
        print(f"src/pellucid/assets/studio/{name} is not what studio/ gives: python tools/studio.py", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
