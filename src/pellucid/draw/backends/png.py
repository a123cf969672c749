"""A PNG of a matrix in its palette, the same bytes on every machine.

The standard library's zlib would do, but its output is not the same everywhere (zlib, zlib-ng and Apple's build each choose
their own matches), and a picture that is checked by its bytes must not change with the machine that drew it. So the stream is
written here: one block of fixed Huffman codes with greedy matches (RFC 1951, 3.2.6), or stored where that is shorter. PNG: W3C
recommendation, third edition, indexed colour.
"""

import struct
import zlib
from collections.abc import Iterator

from pellucid.draw.film.nodes import Matrix
from pellucid.draw.film.palette import table_bytes


SIGNATURE = b"\x89PNG\r\n\x1a\n"
SHORTEST, LONGEST, WINDOW = 3, 258, 32768  # of a match, in bytes
# RFC 1951, 3.2.5: the first length (distance) of each code; its extra bits follow from the gaps.
LENGTHS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258)
LENGTH_BITS = (0,) * 8 + tuple(bits for bits in range(1, 6) for _ in range(4)) + (0,)
DISTANCES = (1, 2, 3, 4, *(1 + (half << bits) for bits in range(1, 14) for half in (2, 3)))
DISTANCE_BITS = (0, 0, 0, 0, *(bits for bits in range(1, 14) for _ in range(2)))


def _matches(data: bytes) -> Iterator[tuple[int, int]]:
    """Greedy parsing: (byte, 0) for a literal, (length, distance) for a match with the latest place that begins alike."""
    latest: dict[bytes, int] = {}
    at = 0
    while at < len(data):
        start = latest.get(data[at : at + SHORTEST], -1) if at + SHORTEST <= len(data) else -1
        length = 0
        if start >= 0 and at - start <= WINDOW:
            most = min(LONGEST, len(data) - at)
            while length < most and data[start + length] == data[at + length]:
                length += 1
        step = length or 1
        yield (length, at - start) if length else (data[at], 0)
        for place in range(at, min(at + step, len(data) - SHORTEST + 1)):
            latest[data[place : place + SHORTEST]] = place
        at += step


def _code(value: int, starts: tuple[int, ...]) -> int:
    return max(code for code, start in enumerate(starts) if start <= value)


def _reversed(code: int, bits: int) -> int:
    return int(f"{code:0{bits}b}"[::-1], 2)


def deflate(data: bytes) -> bytes:
    """A zlib stream (RFC 1950) of the data: any inflater reads it."""
    bits, filled = 0b011, 3  # the last block; fixed codes
    parts: list[tuple[int, int]] = []
    for value, distance in [*_matches(data), (256, 0)]:
        code = value
        if distance:
            number = _code(value, LENGTHS)
            code = 257 + number
        if code < 144:
            parts.append((_reversed(0x30 + code, 8), 8))
        elif code < 256:
            parts.append((_reversed(0x190 + code - 144, 9), 9))
        elif code < 280:
            parts.append((_reversed(code - 256, 7), 7))
        else:
            parts.append((_reversed(0xC0 + code - 280, 8), 8))
        if distance:
            parts.append((value - LENGTHS[number], LENGTH_BITS[number]))
            number = _code(distance, DISTANCES)
            parts += [(_reversed(number, 5), 5), (distance - DISTANCES[number], DISTANCE_BITS[number])]
    packed = bytearray()
    for value, width in parts:
        bits |= value << filled
        filled += width
        while filled >= 8:
            packed.append(bits & 255)
            bits, filled = bits >> 8, filled - 8
    if filled:
        packed.append(bits)
    stored = b"".join(
        struct.pack("<BHH", start + 65535 >= len(data), len(part), len(part) ^ 0xFFFF) + part
        for start in range(0, max(len(data), 1), 65535)
        for part in [data[start : start + 65535]]
    )
    return b"\x78\x01" + min(bytes(packed), stored, key=len) + struct.pack(">I", zlib.adler32(data))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encode(matrix: Matrix, palette: str) -> bytes:
    """The PNG file of a matrix: a pixel a cell, only the palette's colours up to the largest index."""
    colours = table_bytes(palette)[: 3 * (max(matrix.data) + 1)]
    header = struct.pack(">IIBBBBB", matrix.columns, matrix.rows, 8, 3, 0, 0, 0)
    rows = b"".join(b"\0" + matrix.data[i : i + matrix.columns] for i in range(0, len(matrix.data), matrix.columns))
    chunks = ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", deflate(rows)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)
