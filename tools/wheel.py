"""Checks what a wheel holds: everything it should, nothing else, and not too much of it.

python tools/wheel.py dist/pellucid-0.1.0-py3-none-any.whl
"""

import sys
import zipfile
from pathlib import Path


KERNEL = (  # C sources
    "attention.c", "draw.c", "fingerprint.c", "forward.c",
    "kernel.h", "kv_cache.h", "matmul.c", "matmul_quantized.c", "matmul_tiles.h",
    "pack.c", "threads.c", "vector.h", "vector_int.h", "wasm/exports.c", "wasm/single_thread.c",
)  # fmt: skip
OPERATORS = ("operators.c", "operators.h")
MODEL = ("config.json", "model.safetensors", "tokenizer.json", "training.json", "MODEL_CARD.md")
LARGEST = 12_000_000  # bytes
NEEDED = (
    "pellucid/py.typed",
    "pellucid/text/data/vocab.bpe",
    *(
        f"pellucid/draw/fonts/{name}"
        for name in (
            "Inter-Regular.ttf",
            "Inter-SemiBold.ttf",
            "JetBrainsMono-Regular.ttf",
            "JetBrainsMono-SemiBold.ttf",
            "NotoSansSC-Regular.ttf",
            "OFL-Inter.txt",
            "OFL-JetBrainsMono.txt",
            "OFL-NotoSansSC.txt",
            "README.md",
        )
    ),
    *(f"pellucid/runtime/kernel/{name}" for name in KERNEL),
    "pellucid/text/bpe/learn.c",
    *(f"pellucid/native/operators/{name}" for name in OPERATORS),
    *(f"pellucid/assets/{model}/{name}" for model in ("default", "small") for name in MODEL),
    "pellucid/assets/families.jsonl.bz2",
    "pellucid/assets/react.jsonl",
    "pellucid/assets/recipes.json",
    "pellucid/assets/stories.jsonl.bz2",
    "pellucid/languages/zh.json",
    *(f"pellucid/assets/wasm/{name}.wasm" for name in ("relaxed", "exact")),
    *(f"pellucid/assets/studio/{name}" for name in ("player.js", "studio.js", "worker.js", "bundled.json")),
)
NOTICES = ("LICENSE", "THIRD_PARTY.md")  # in the .dist-info folder


def problems(wheel: Path) -> list[str]:
    """What is wrong with the wheel, a line each."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    found = []
    if wheel.stat().st_size > LARGEST:
        found.append(f"{wheel.stat().st_size:,} bytes, more than {LARGEST:,}")
    found += [f"lacks {name}" for name in NEEDED if name not in names]
    notices = {name.rsplit("/", 1)[1] for name in names if ".dist-info/licenses/" in name}
    found += [f"lacks the notice {notice}" for notice in NOTICES if notice not in notices]
    for name in sorted(names):
        folder, inside = name.split("/", 1)
        ours = inside in {needed.split("/", 1)[1] for needed in NEEDED} or inside.endswith(".py")
        if not (folder.endswith(".dist-info") or (folder == "pellucid" and ours)):
            found.append(f"should not hold {name}")
    return found


def main() -> int:
    """Prints what is wrong; 1 if anything is."""
    found = [problem for wheel in sys.argv[1:] for problem in problems(Path(wheel))]
    for problem in found:
        print(f"wheel: {problem}", file=sys.stderr)
    return 1 if found or not sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
