"""Damaged files, each known by a number: small pictures of every kind, with some bytes changed as accidents do.

Example::

    name, content = mutation(1234)  # the same at any time: "jpeg2000.dcm", and its bytes
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from tests.chaos.sources import PNG, SOURCES, Field, png_chunks, sources

__all__ = ["mutation"]

_Change = Callable[[bytearray, random.Random], None]
_INTERESTING = (0, 1, 2, 3, 7, 8, 9, 16, 255, 256, 4096, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, -1)
_TEXTS = ("0", "1", "2", "-1", "-0", "3.5", "nan", "inf", "1e308", "1e-9", "65536", "4294967295", "9" * 16, "", "a\\b")


def mutation(number: int) -> tuple[str, bytes]:
    """The name and the bytes of a damaged file."""
    rng = random.Random(number)
    name = SOURCES[number % len(SOURCES)]
    source = sources()[name]
    if source.pack is not bytes and rng.random() < 0.7:
        return name, source.pack(_damaged(source.unpack(source.content), source.fields, rng))
    damaged = _damaged(source.content, source.fields if source.pack is bytes else (), rng)
    return name, source.mend(damaged) if rng.random() < 0.8 else damaged


def _damaged(content: bytes, fields: Sequence[Field], rng: random.Random) -> bytes:
    """Numbers first, for other changes may move them."""
    data = bytearray(content)
    for _ in range(rng.choice((0, 1, 1, 2)) if fields else 0):
        _set_field(data, rng.choice(fields), rng)
    for _ in range(rng.choice((0, 0, 1)) if data != content else rng.choice((1, 1, 2, 8))):
        rng.choice(_CHANGES)(data, rng)
    return bytes(data)


def _set_field(data: bytearray, field: Field, rng: random.Random) -> None:
    start, size, order = field
    if order == "text":
        data[start : start + size] = rng.choice(_TEXTS).encode()[:size].ljust(size)
        return
    now = int.from_bytes(data[start : start + size], order)  # type: ignore[arg-type]
    value = rng.choice((*_INTERESTING, now - 1, now + 1, now * 2, now // 2, len(data), rng.getrandbits(8 * size)))
    data[start : start + size] = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng, 8)
    data[start:end] = rng.choice((rng.randbytes(end - start), bytes(end - start), b"\xff" * (end - start)))


def _number(data: bytearray, rng: random.Random) -> None:
    """Write one anywhere, where formats keep them: at even places, more often near the start."""
    size, end = rng.choice((1, 2, 4)), len(data) if rng.random() < 0.3 else min(len(data), 600)
    if end > size:
        _set_field(data, Field(rng.randrange(end - size) & ~1, size, rng.choice(("little", "big"))), rng)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) if rng.random() < 0.5 else max(0, len(data) - rng.randrange(1, 20)) :]


def _insert(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 100)))


def _delete(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng, rng.choice((4, 100)))
    del data[start:end]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng, 400)
    data[end:end] = data[start:end] * rng.choice((1, 1, 5))


def _swap(data: bytearray, rng: random.Random) -> None:
    a, b, c, d = sorted(rng.randrange(len(data) + 1) for _ in range(4))
    data[a:d] = data[c:d] + data[b:c] + data[a:b]


def _swap_png_chunks(data: bytearray, rng: random.Random) -> None:
    """Swap, repeat or leave out whole chunks of a PNG, segments of a JPEG; of other files, parts of 64 bytes."""
    parts = _parts(bytes(data))
    if len(parts) < 2:
        return
    one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.randrange(3):
        case 0:
            parts[one], parts[other] = parts[other], parts[one]
        case 1:
            parts.insert(one, parts[other])
        case _:
            del parts[one]
    data[:] = b"".join(parts)


_CHANGES: tuple[_Change, ...] = (
    *(_flip, _flip, _replace, _number, _number, _truncate, _insert, _delete, _repeat, _swap, _swap_png_chunks),
)


def _part(data: bytearray, rng: random.Random, longest: int) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randint(1, longest))


def _parts(data: bytes) -> list[bytes]:
    if data.startswith(PNG):
        return [PNG, *(chunk for _, chunk in png_chunks(data))]
    if data.startswith(b"\xff\xd8\xff"):
        return re.split(rb"(?=\xff[\xc0-\xfe])", data)
    return [data[start : start + 64] for start in range(0, len(data), 64)]
