"""Grapheme clusters: the characters that a reader sees, so that no text is cut inside one of them.

The rules are those of extended grapheme clusters in Unicode's UAX #29, from the properties that `unicodedata` has; where a rule
needs a property that it lacks (Extended_Pictographic, Indic_Conjunct_Break), a list of ranges stands for it.
"""

from unicodedata import category, east_asian_width


ZWNJ, ZWJ, EMOJI_STYLE = "\u200c", "\u200d", "\ufe0f"
_PICTURES = (  # Extended_Pictographic, by blocks
    (0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122), (0x2139, 0x2139), (0x2194, 0x2199),
    (0x21A9, 0x21AA), (0x231A, 0x231B), (0x2328, 0x2328), (0x23CF, 0x23CF), (0x23E9, 0x23F3), (0x23F8, 0x23FA),
    (0x24C2, 0x24C2), (0x25AA, 0x25AB), (0x25B6, 0x25B6), (0x25C0, 0x25C0), (0x25FB, 0x25FE), (0x2600, 0x27BF),
    (0x2934, 0x2935), (0x2B05, 0x2B07), (0x2B1B, 0x2B1C), (0x2B50, 0x2B50), (0x2B55, 0x2B55), (0x3030, 0x3030),
    (0x303D, 0x303D), (0x3297, 0x3297), (0x3299, 0x3299), (0x1F000, 0x1F1E5), (0x1F200, 0x1F3FA), (0x1F400, 0x1FAFF),
)  # fmt: skip
_VIRAMAS = frozenset("\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d")  # join consonants in the scripts from Devanagari to Malayalam
_EXTENDING = frozenset("\u200c\u200d\u0e33\u0eb3\uff9e\uff9f")  # neither marks by category, nor characters of their own


def graphemes(text: str) -> list[str]:
    """The grapheme clusters of a text, in order; joined they are the text."""
    if text.isascii() and "\r" not in text:
        return list(text)
    found: list[str] = []
    cluster = ""
    for character in text:
        if cluster and not _joins(cluster, character):
            found.append(cluster)
            cluster = ""
        cluster += character
    return [*found, cluster] if cluster else found


def columns(text: str) -> int:
    """How many columns a text takes where each character has one and a wide one (Chinese, Japanese, Korean, emoji) has two."""
    return len(text) if text.isascii() else sum(2 if is_wide(cluster) else 1 for cluster in graphemes(text))


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A text with spaces after it, or before it with `right`, up to `width` columns."""
    spaces = " " * (width - columns(text))
    return spaces + text if right else text + spaces


def is_wide(cluster: str) -> bool:
    """Whether a grapheme cluster is as wide as two letters."""
    return east_asian_width(cluster[0]) in "WF" or is_emoji(cluster)


def is_emoji(cluster: str) -> bool:
    """Whether a grapheme cluster is shown as an emoji: a flag, a pictograph of the upper planes, or one with emoji style."""
    first = ord(cluster[0])
    return EMOJI_STYLE in cluster or 0x1F000 <= first <= 0x1FAFF


def is_joined(cluster: str) -> bool:
    """Whether a grapheme cluster is a printable character with marks, or others that a joiner joins to it, as in emoji."""
    printable = cluster.replace(ZWJ, "").replace(ZWNJ, "").isprintable()
    return len(cluster) > 1 and printable and not (is_mark(cluster[0]) or cluster[0] == " ")


def first_columns(text: str, most: int) -> str:
    """As many grapheme clusters of the start of a text as fit in `most` columns."""
    return text[:most] if text.isascii() else "".join(_fitting(graphemes(text[: _enough(most)]), most))


def last_columns(text: str, most: int) -> str:
    """As many grapheme clusters of the end of a text as fit in `most` columns."""
    if text.isascii():
        return text[-most:] if most else ""
    return "".join(reversed(_fitting(graphemes(text[-_enough(most) :])[::-1], most)))


def _fitting(clusters: list[str], most: int) -> list[str]:
    for count, cluster in enumerate(clusters):
        most -= 2 if is_wide(cluster) else 1
        if most < 0:
            return clusters[:count]
    return clusters


def _enough(most: int) -> int:
    """How many characters of a text are looked at for `most` columns: a cluster of more than 32 is cut."""
    return 32 * most + 32


def is_mark(character: str) -> bool:
    """Whether a character is a combining mark."""
    return category(character) in ("Mn", "Me", "Mc")


def _joins(cluster: str, character: str) -> bool:
    """Whether there is no boundary between a cluster and the character after it (rules GB3 to GB13)."""
    last, code = cluster[-1], ord(character)
    if character < "\u0300" and character != "\n":
        return _is_picture(code) and _after_joined_picture(cluster)
    if last == "\r" or character == "\n":
        return last == "\r" and character == "\n"
    if _is_control(last) or _is_control(character):
        return False
    if is_mark(character) or character in _EXTENDING or 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:
        return True
    if 0x1F1E6 <= code <= 0x1F1FF:  # two regional indicators are a flag
        return len(cluster) == 1 and 0x1F1E6 <= ord(last) <= 0x1F1FF
    if _after_joined_picture(cluster) and _is_picture(code):
        return True
    if 0x1100 <= code <= 0x11FF or 0xA960 <= code <= 0xA97C or 0xAC00 <= code <= 0xD7FB:
        return _syllable_goes_on(ord(last), code)
    return 0x900 <= code < 0xD80 and category(character) == "Lo" and _after_virama(cluster)


def _is_control(character: str) -> bool:
    kind = category(character)
    if kind == "Cf":
        return character not in (ZWJ, ZWNJ) and not 0xE0020 <= ord(character) <= 0xE007F
    return kind in ("Cc", "Cs", "Zl", "Zp")


def _is_picture(code: int) -> bool:
    return any(first <= code <= last for first, last in _PICTURES) if code >= 0xA9 else False


def _after_joined_picture(cluster: str) -> bool:
    """Whether a cluster ends with a picture, marks of it, and a joiner."""
    if cluster[-1] != ZWJ:
        return False
    rest = (c for c in reversed(cluster[:-1]) if not (is_mark(c) or 0x1F3FB <= ord(c) <= 0x1F3FF))
    return _is_picture(ord(next(rest, " ")))


def _after_virama(cluster: str) -> bool:
    """Whether a cluster ends with a consonant, a virama and nothing but marks and joiners in between and after it."""
    for character in reversed(cluster):
        if character in _VIRAMAS:
            return category(cluster[0]) == "Lo"
        if character != ZWJ and category(character) != "Mn":
            break
    return False


def _syllable_goes_on(before: int, code: int) -> bool:
    """Rules GB6 to GB8: parts of one Hangul syllable."""
    leading = 0x1100 <= before <= 0x115F or 0xA960 <= before <= 0xA97C
    if leading:
        return 0x1100 <= code <= 0x11A7 or 0xA960 <= code <= 0xA97C or 0xAC00 <= code <= 0xD7A3 or 0xD7B0 <= code <= 0xD7C6
    vowel, final = 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6, 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB
    ends_in_vowel = 0x1160 <= before <= 0x11A7 or 0xD7B0 <= before <= 0xD7C6
    if 0xAC00 <= before <= 0xD7A3:
        return final or (vowel and (before - 0xAC00) % 28 == 0)
    return (ends_in_vowel and (vowel or final)) or ((0x11A8 <= before <= 0x11FF or 0xD7CB <= before <= 0xD7FB) and final)
