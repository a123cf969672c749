"""Numbers and texts as they are written on pictures: probabilities, bytes, seconds, counts, the ends of long texts."""

from math import floor, log10

from pellucid.languages import tr
from pellucid.text.graphemes import first_columns, graphemes, is_joined, last_columns
from pellucid.text.pieces import piece


SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def start_of(text: str, most: int = 160) -> str:
    """The first characters of a text, in `most` columns and one line, with an ellipsis where it goes on."""
    text = " ".join(text.split())
    start = first_columns(text, most)
    return text if start == text else f"{start.rstrip()} …"


def end_of(text: str, most: int = 160) -> str:
    """The last characters of a text, in `most` columns and one line: of a prompt, the part that is continued."""
    text = " ".join(text.split())
    end = last_columns(text, most)
    return text if end == text else f"… {end.lstrip()}"


def percent(share: float) -> str:
    """A share from 0 to 1 in percent: 42%, 3.1%, 0.02%, <0.01%."""
    if 0.9945 <= share < 1:
        return f"{share * 100:.1f}%" if share < 0.9995 else ">99.9%"
    if share >= 0.0995:
        return f"{floor(share * 100 + 0.5)}%"
    if share >= 0.00995:
        return f"{share * 100:.1f}%"
    return f"{share * 100:.2f}%" if share >= 0.00005 else ("<0.01%" if share > 0 else "0%")


def in_bytes(count: float) -> str:
    """An amount of memory, in powers of 1000: 512 bytes, 12.3 kB, 9.66 GB."""
    return tr("{count:.0f} bytes", count=count) if count < 1000 else _in_units(count, ("kB", "MB", "GB", "TB"))


def in_seconds(seconds: float) -> str:
    """A time: 12.3 ms, 1.85 s."""
    if seconds < 0.9995:
        return tr("{time} ms", time=three_digits(seconds * 1000))
    return tr("{time} s", time=three_digits(seconds))


def in_short(count: float) -> str:
    """A large number in three digits: 5.92 M, 175 B; exact below ten thousand."""
    return f"{count:,.0f}" if count < 10_000 else _in_units(count, ("k", "M", "B", "T"))


def _in_units(count: float, units: tuple[str, ...]) -> str:
    """Three digits and the unit, each 1000 times the one before, that leaves at most three before the point."""
    for unit in units:
        count /= 1000
        if count < 999.5 or unit == units[-1]:
            break
    return f"{three_digits(count)} {unit}"


def three_digits(value: float) -> str:
    """A number with three significant digits, and all digits before the point: 1234, 12.3, 0.456; below 0.0001 2.31 × 10⁻⁵."""
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return _scientific(value)
    text = f"{value:.{max(2 - floor(log10(abs(value))), 0)}f}"
    if len(text.replace(".", "").lstrip("-0")) > 3 and "." in text:  # 9.996 became 10.00
        text = text[:-1].rstrip(".")
    return text


def _scientific(value: float) -> str:
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def power(value: float) -> str:
    """A large number in scientific notation: 3.14 × 10²³; below ten thousand as it is."""
    if value < 10_000:
        return f"{value:,.0f}"
    exponent = floor(log10(value))
    digits = f"{value / 10**exponent:.2f}"
    if digits == "10.00":
        digits, exponent = "1.00", exponent + 1
    return f"{digits} × 10{str(exponent).translate(SUPERSCRIPTS)}"


def readable(text: str) -> str:
    """A text for a picture: line ends and control characters are made visible; spaces stay, and joiners between characters."""
    return "".join(cluster if is_joined(cluster) else _visible(cluster) for cluster in graphemes(text))


def _visible(cluster: str) -> str:
    return cluster if cluster == " " else piece(cluster.encode("utf-8")).replace("↵", "↵ ")


def four_digits(value: float) -> str:
    """A number with four significant digits, up to a million all before the point: −123,456, 12.34, 1.23 × 10⁻⁵."""
    size, sign = abs(value), "−" if value < 0 else ""
    if size == 0:
        return "0"
    if not 1e-3 <= size < 9_999_999.5:
        return sign + _scientific(size)
    return f"{sign}{size:,.{max(3 - floor(log10(size)), 0)}f}"
