"""The bundled fonts: subsets of Inter, JetBrains Mono and Noto Sans SC, made from the files of three npm packages.

    npm pack inter-ui@4.1.1 @expo-google-fonts/jetbrains-mono@0.4.1 @fontsource/noto-sans-sc@5.3.0
    pip install fonttools==4.68.0 brotli
    python tools/fonts.py FOLDER            FOLDER holds the three .tgz files; writes src/pellucid/draw/fonts/
    python tools/fonts.py FOLDER --check    exit 1 if anything would change

Inter and JetBrains Mono have no Reserved Font Name, and that of Noto Sans SC is "Source", so that each subset may keep its
name (OFL 1.1, condition 3). Of Noto Sans SC it holds what the other two lack of GB 2312: the 3,755 characters of its level 1,
which are the commonest by the standard, and its rows 1 to 9 (punctuation, full-width letters, kana, bopomofo); and what the
translated texts (src/pellucid/languages/*.json) need besides. What is done to them, so that a small pure-Python reader is
enough at run time and the width of a text is the sum of its advances: 1000 units to the em, no composite glyphs, no hinting,
no kerning, no ligatures, digits of equal width, `cmap` format 4 only.
"""

import argparse
import hashlib
import io
import json
import sys
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.ttLib.scaleUpem import scale_upem
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable


PACKAGE = Path(__file__).resolve().parent.parent / "src" / "pellucid"
FONTS, LANGUAGES = PACKAGE / "draw" / "fonts", PACKAGE / "languages"
LARGEST, LARGEST_CHINESE = 120_000, 1_500_000  # bytes
EPOCH = 3_786_912_000  # seconds since 1904: 2024-01-01, so that the files do not depend on when they are made
KEPT = ["cmap", "glyf", "head", "hhea", "hmtx", "loca", "maxp", "name", "OS/2", "post"]

RANGES = (
    (0x20, 0x7E), (0xA0, 0x17F),  # Latin, Latin-1, Latin Extended-A
    (0x192, 0x192), (0x1A0, 0x1A1), (0x1AF, 0x1B0), (0x1CD, 0x1DC), (0x218, 0x21B),  # Vietnamese, Pinyin, Romanian
    (0x250, 0x2B9), (0x2BB, 0x2BF), (0x2C6, 0x2C8), (0x2CC, 0x2CC), (0x2D0, 0x2D1), (0x2D8, 0x2DD),  # phonetic, accents
    (0x386, 0x3CE),  # Greek
    (0x401, 0x40C), (0x40E, 0x44F), (0x451, 0x45C), (0x45E, 0x45F), (0x490, 0x4FF),  # Cyrillic
    (0x1E80, 0x1E85), (0x1E9E, 0x1E9E), (0x1EA0, 0x1EF9),  # Welsh, capital ß, Vietnamese
    (0x2010, 0x2027), (0x202F, 0x203A), (0x2044, 0x2044), (0x2070, 0x208E),  # punctuation, raised and lowered digits
    (0x20AC, 0x20AC), (0x2116, 0x2116), (0x2122, 0x2122),
    (0x2190, 0x2199), (0x21B5, 0x21B5), (0x21D0, 0x21D4), (0x21E5, 0x21E5),  # arrows, return, tab
    (0x2202, 0x2265), (0x23CE, 0x23CE), (0x2423, 0x2423),  # mathematics, open box
    (0x2500, 0x259F),  # boxes and bars
    (0x25A0, 0x25CF), (0x2713, 0x2717), (0x27E8, 0x27E9), (0xFB01, 0xFB02), (0xFFFD, 0xFFFD),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a package and the name its subset gets."""

    package: str
    version: str
    archive: str
    member: str
    output: str


INTER = ("inter-ui", "4.1.1", "inter-ui-4.1.1.tgz")
MONO = ("@expo-google-fonts/jetbrains-mono", "0.4.1", "expo-google-fonts-jetbrains-mono-0.4.1.tgz")
NOTO = ("@fontsource/noto-sans-sc", "5.3.0", "fontsource-noto-sans-sc-5.3.0.tgz")
SOURCES = (
    Source(*INTER, "package/web/Inter-Regular.woff2", "Inter-Regular.ttf"),
    Source(*INTER, "package/web/Inter-SemiBold.woff2", "Inter-SemiBold.ttf"),
    Source(*MONO, "package/400Regular/JetBrainsMono_400Regular.ttf", "JetBrainsMono-Regular.ttf"),
    Source(*MONO, "package/600SemiBold/JetBrainsMono_600SemiBold.ttf", "JetBrainsMono-SemiBold.ttf"),
)
CHINESE = Source(*NOTO, "package/files/noto-sans-sc-chinese-simplified-400-normal.woff2", "NotoSansSC-Regular.ttf")
LICENCES = (
    (INTER[2], "package/LICENSE.txt", "OFL-Inter.txt"),
    (MONO[2], "package/LICENSE_FONT", "OFL-JetBrainsMono.txt"),
    (NOTO[2], "package/LICENSE", "OFL-NotoSansSC.txt"),
)


def read_member(folder: Path, archive: str, member: str) -> bytes:
    """A file of a .tgz."""
    if not (folder / archive).is_file():
        sys.exit(f"{folder / archive} is missing: npm pack (see the top of tools/fonts.py)")
    with tarfile.open(folder / archive) as tar:
        file = tar.extractfile(member)
        assert file is not None, member
        return file.read()


def tabular_digits(font: TTFont) -> dict[str, str]:
    """Glyph -> its form of equal width, where the font has the feature `tnum`."""
    if "GSUB" not in font:
        return {}
    table = font["GSUB"].table
    wanted = {i for feature in table.FeatureList.FeatureRecord if feature.FeatureTag == "tnum"
              for i in feature.Feature.LookupListIndex}  # fmt: skip
    found: dict[str, str] = {}
    for index in sorted(wanted):
        for subtable in table.LookupList.Lookup[index].SubTable:
            subtable = getattr(subtable, "ExtSubTable", subtable)
            found |= getattr(subtable, "mapping", {})
    return found


def only_format_4(font: TTFont, characters: dict[int, str]) -> None:
    """Replaces the character map by one that a few lines can read."""
    subtable = CmapSubtable.newSubtable(4)
    subtable.platformID, subtable.platEncID, subtable.language, subtable.cmap = 3, 1, 0, characters
    font["cmap"].tables = [subtable]


def without_composites(font: TTFont) -> None:
    """Every glyph as outlines of its own."""
    glyphs = font.getGlyphSet()
    outlines = {}
    for name in font.getGlyphOrder():
        recording, pen = DecomposingRecordingPen(glyphs), TTGlyphPen(None)
        glyphs[name].draw(recording)
        recording.replay(pen)
        outlines[name] = pen.glyph(dropImpliedOnCurves=True)
    for name, glyph in outlines.items():
        font["glyf"][name] = glyph


def latin(font: TTFont) -> dict[int, str]:
    """Character -> glyph: what a subset of the first two fonts holds."""
    available = font.getBestCmap()
    equal = tabular_digits(font)
    digits = {ord(digit): equal.get(available[ord(digit)], available[ord(digit)]) for digit in "0123456789"}
    return {code: available[code] for first, last in RANGES for code in range(first, last + 1) if code in available} | digits


def gb_2312() -> set[int]:
    """The characters of rows 1 to 9 and 16 to 55 (level 1) of GB 2312-1980."""
    found = set()
    for row in (*range(1, 10), *range(16, 56)):
        for column in range(1, 95):
            with suppress(UnicodeDecodeError):
                found.add(ord(bytes([0xA0 + row, 0xA0 + column]).decode("gb2312")))
    return found


def translated() -> set[int]:
    """The characters of the translated texts."""
    texts = (text for path in LANGUAGES.glob("*.json") for text in json.loads(path.read_text(encoding="utf-8")).values())
    return {ord(character) for text in texts for character in text}


def subset(content: bytes, besides: set[int] | None = None) -> bytes:
    """The subset of a font file, as TrueType. besides: of Noto Sans SC, the characters that the others hold."""
    font = TTFont(io.BytesIO(content), recalcTimestamp=False)
    font.flavor = None  # the file it came from may be WOFF2
    available = font.getBestCmap()
    wanted = latin(font) if besides is None else _chinese(available, besides)
    only_format_4(font, wanted)
    options = Options()
    options.layout_features, options.hinting, options.notdef_outline = [], False, True
    options.drop_tables += sorted(set(font.keys()) - {*KEPT, "GlyphOrder"})
    options.name_IDs, options.glyph_names, options.legacy_kern = [0, 1, 2, 3, 4, 5, 6, 13, 14], False, False
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=wanted)
    subsetter.subset(font)
    without_composites(font)
    scale_upem(font, 1000)
    font["head"].created = font["head"].modified = EPOCH
    font["post"].formatType = 3.0
    out = io.BytesIO()
    font.save(out, reorderTables=True)
    return out.getvalue()


def _chinese(available: dict[int, str], besides: set[int]) -> dict[int, str]:
    """Character -> glyph: what the subset of Noto Sans SC holds."""
    return {code: available[code] for code in (gb_2312() | translated()) - besides if code in available}


def copyright_of(content: bytes) -> bytes:
    """The copyright notice of a font file (name 0), which the package's licence leaves out."""
    return str(TTFont(io.BytesIO(content))["name"].getDebugName(0)).encode()


def readme(folder: Path, made: dict[str, bytes]) -> str:
    """What the folder holds and where each file comes from."""
    lines = [
        "# Fonts",
        "",
        "Written by `tools/fonts.py`; do not edit. Subsets of Inter (sans), JetBrains Mono (mono) and Noto Sans SC (Chinese",
        "and kana in pictures of pixels), all under the SIL Open Font License 1.1: `OFL-Inter.txt`, `OFL-JetBrainsMono.txt`,",
        "`OFL-NotoSansSC.txt`. The Reserved Font Name of the last is Source, which no file here bears; the others have none.",
        "",
        "| file | from | in the package | SHA-256 of the package | SHA-256 of the file here |",
        "|---|---|---|---|---|",
    ]
    for source in (*SOURCES, CHINESE):
        package = hashlib.sha256((folder / source.archive).read_bytes()).hexdigest()
        own = hashlib.sha256(made[source.output]).hexdigest()
        name = f"npm `{source.package}` {source.version}"
        lines.append(f"| `{source.output}` | {name} | `{source.member}` | `{package}` | `{own}` |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds the three .tgz files")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file would change")
    arguments = parser.parse_args()
    made = {source.output: subset(read_member(arguments.folder, source.archive, source.member)) for source in SOURCES}
    for name, content in made.items():
        assert len(content) < LARGEST, f"{name}: {len(content)} bytes"
    held = {code for content in made.values() for code in TTFont(io.BytesIO(content)).getBestCmap()}
    made[CHINESE.output] = subset(read_member(arguments.folder, CHINESE.archive, CHINESE.member), held)
    assert len(made[CHINESE.output]) < LARGEST_CHINESE, f"{CHINESE.output}: {len(made[CHINESE.output])} bytes"
    for archive, member, output in LICENCES:
        made[output] = read_member(arguments.folder, archive, member).replace(b"\r\n", b"\n")
    made["OFL-NotoSansSC.txt"] = copyright_of(made[CHINESE.output]) + b"\n\n" + made["OFL-NotoSansSC.txt"]
    made["README.md"] = readme(arguments.folder, made).encode()
    for name, content in made.items():
        if arguments.check and (not (FONTS / name).is_file() or (FONTS / name).read_bytes() != content):
            print(f"{name} is out of date: python tools/fonts.py FOLDER", file=sys.stderr)
            return 1
        if not arguments.check:
            (FONTS / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
