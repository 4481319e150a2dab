"""Files and folders that are no pictures, or not ones that anybody should open."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from PIL import Image

from tests.chaos.pictures import rgb, write_dicom, write_nifti, write_picture

__all__ = ["BAD", "BOMBS", "CIRCLES", "HIDDEN", "ODD_NAMES", "READABLE", "WARNED", "write"]

Writer = Callable[[Path], object]
BOMB = 150  # million bytes that a small file inflates to


def content(data: bytes | str) -> Writer:
    """Write this."""
    return lambda path: path.write_bytes(data if isinstance(data, bytes) else data.encode())


def altered(change: Callable[[bytes], bytes]) -> Writer:
    """Write a picture of the kind that the suffix names, and change its bytes."""
    return lambda path: path.write_bytes(change(write_picture(path).read_bytes()))


def saved(kind: str) -> bytes:
    """A picture in another format than its name says."""
    file = io.BytesIO()
    Image.fromarray(rgb(0)).save(file, kind)
    return file.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that says it has a size."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *chunks, (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def nifti(**fields: Any) -> bytes:
    """A picture of 64 x 48 bytes, whose header says something else."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((64, 48))
    header.set_data_dtype(np.uint8)
    for name, value in {"magic": b"n+1", "vox_offset": 352, **fields}.items():
        header[name] = value
    return header.binaryblock + bytes(4) + bytes(64 * 48)


def dimensions(*numbers: int) -> dict[str, list[int]]:
    return {"dim": [*numbers, *[1] * (8 - len(numbers))]}


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def deflated(start: bytes, count: int) -> bytes:
    """Bytes and so many million zeros, deflated in no time: blocks that depend on nothing before them repeat."""
    packer = zlib.compressobj(wbits=-15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * count + b"\x03\0"


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", saved("PNG"))
    return file.getvalue()


def tiff(array: np.ndarray, **options: Any) -> Writer:
    return lambda path: tifffile.imwrite(path, array, **options)


def tiff_that_goes_in_circles(path: Path) -> None:
    """The directory after the first is the first."""
    tifffile.imwrite(path, rgb(0), photometric="rgb")
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * entries, start)
    path.write_bytes(data)


def tiff_tag(tag: int, value: int) -> Writer:
    """A TIFF with another value of a tag."""

    def make(path: Path) -> None:
        tifffile.imwrite(path, rgb(0), photometric="rgb")
        set_tags(path, {tag: value})

    return make


def set_tags(path: Path, values: dict[int, int]) -> None:
    """Change tags of a TIFF that hold one number."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for number, value in values.items():
            tag = file.pages[0].tags[number]
            struct.pack_into("<I" if tag.dtype.name == "LONG" else "<H", data, tag.valueoffset, value)
    path.write_bytes(data)


def tiff_bomb(path: Path) -> None:
    """Says that it has 64 x 48 pixels, and holds 150 million."""
    tifffile.imwrite(path, rgb(0)[..., 0], photometric="minisblack")
    checksum = (BOMB * 1_000_000 % 65521) << 16 | 1
    packed = b"\x78\x9c" + deflated(b"", BOMB) + struct.pack(">I", checksum)
    set_tags(path, {259: 8, 273: path.stat().st_size, 279: len(packed)})
    with open(path, "ab") as file:
        file.write(packed)


def dicom_bomb(path: Path) -> None:
    """Says that it has 64 x 48 pixels, and holds 150 million."""
    write_dicom(path, rgb(0)[..., 0])
    data = path.read_bytes()
    short, long = b"UI\x14\0" + b"1.2.840.10008.1.2.1\0", b"UI\x16\0" + b"1.2.840.10008.1.2.1.99"
    assert data.count(short) == 1
    data = data.replace(short, long)
    (length,) = struct.unpack_from("<I", data, 140)  # of the part that is not deflated
    struct.pack_into("<I", whole := bytearray(data), 140, length + 2)
    start, pixels = 144 + length + 2, len(data) - 64 * 48
    dataset = bytes(whole[start : pixels - 4]) + struct.pack("<I", BOMB * 1_000_000)
    path.write_bytes(bytes(whole[:start]) + deflated(dataset, BOMB))


def link(target: str) -> Writer:
    return lambda path: path.symlink_to(target)


def unreadable(path: Path) -> None:
    write_picture(path).chmod(0)


def folder(rights: int, *names: str) -> Writer:
    """A folder with pictures, or with a text."""

    def make(path: Path) -> None:
        path.mkdir()
        for name in names:
            write_picture(path / name) if name.endswith(".png") else (path / name).write_text("a text")
        path.chmod(rights)

    return make


def listed(path: Path) -> None:
    """In a folder whose names can be read, and nothing else."""
    write_picture(path)
    path.parent.chmod(0o644)


def bound_socket(path: Path) -> None:
    """By its short name, for the length of a socket's path is limited."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(path.name)
    finally:
        os.chdir(here)


def chain(path: Path) -> None:
    """Links to links, more than a system follows."""
    parts = path.with_name(".links")
    parts.mkdir()
    for number in range(60):
        (parts / str(number)).symlink_to(str(number + 1))
    write_picture(parts / "picture.png").rename(parts / "60")
    path.symlink_to(".links/0")


half: Callable[[bytes], bytes] = lambda data: data[: len(data) // 2]  # noqa: E731 - as an argument
dicom: Callable[..., Writer] = lambda **tags: lambda path: write_dicom(path, rgb(0)[..., 0], **tags)  # noqa: E731

# What fails, by name: how it is made, and what its reason must say.
BAD: dict[str, tuple[Writer, str]] = {
    **{f"empty{suffix}": (content(b""), "it is empty") for suffix in (".png", ".tif", ".dcm", ".nii")},
    "empty.nii.gz": (content(gzip.compress(b"")), "no PNG"),
    "cut.png": (altered(half), "truncated"),
    "cut.jpg": (altered(half), "Truncated"),
    "cut.bmp": (altered(half), "truncated"),
    "cut.tif": (altered(half), "cut short"),
    "cut.dcm": (altered(half), "incomplete"),
    "cut.nii": (altered(half), "cut short or damaged"),
    "cut.nii.gz": (altered(half), "cut short or damaged"),
    "header only.png": (altered(lambda data: data[:33]), "no PNG"),
    "header only.jpg": (altered(lambda data: data[:20]), "no PNG"),
    "header only.dcm": (altered(lambda data: data[:132]), "cut short"),
    "header only.nii": (altered(lambda data: data[:348]), "cut short"),
    "text.png": (content("no picture\n"), "no PNG"),
    "page.jpg": (content("<!DOCTYPE html><html><body>404</body></html>"), "no PNG"),
    "archive.png": (content(zipped()), "no PNG"),
    "paper.tif": (content("%PDF-1.7\n%\xe2\xe3\n1 0 obj\n"), "no PNG"),
    "moving.png": (content(saved("GIF")), "no PNG"),
    "web.png": (content(saved("WEBP")), "no PNG"),
    "script.dcm": (content("#!/bin/sh\n"), "no PNG"),
    "noise.bmp": (content(np.random.default_rng(0).bytes(5000)), "no PNG"),
    "zeros.dcm": (content(bytes(5000)), "no PNG"),
    "text.nii.gz": (content(gzip.compress(b"no picture")), "no PNG"),
    "checksum.png": (altered(lambda data: data[:29] + b"\0\0\0\0" + data[33:]), "no PNG"),
    "one bit.png": (altered(lambda data: data[:500] + bytes([data[500] ^ 16]) + data[501:]), "stream"),
    "no size.png": (content(png(0, 0)), "no PNG"),
    "bomb.png": (content(png(60_000, 60_000, (b"IDAT", zlib.compress(bytes(99))))), "limit of"),
    "text bomb.png": (
        content(png(8, 8, (b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 26))), (b"IDAT", zlib.compress(bytes(72))))),
        "too large",
    ),
    "bomb.bmp": (content(bmp(60_000, 60_000)), "limit of"),
    "bomb.tif": (tiff_tag(256, 60_000), "cut short"),
    "bomb.nii.gz": (content(gzip.compress(nifti(**dimensions(2, 30_000, 30_000)) + bytes(1 << 24))), "limit of"),
    "far.nii.gz": (content(gzip.compress(nifti(vox_offset=1e9))), "damaged"),
    "bomb.dcm": (dicom(Rows=60_000, Columns=60_000), "limit of"),
    "pages.tif": (tiff(np.zeros((1000, 8, 8), np.uint8), photometric="minisblack"), "1000 pages"),
    "float.tif": (tiff(rgb(0)[..., 0].astype(np.float32)), "float32"),
    "separated.tif": (tiff(np.zeros((8, 8, 4), np.uint8), photometric="separated"), "SEPARATED"),
    "compression.tif": (tiff_tag(259, 34712), "no picture that can be decoded"),
    "volume.nii.gz": (lambda path: write_nifti(path, np.zeros((48, 64, 1, 1, 5), np.uint8)), "64 × 48 × 1 × 1 × 5"),
    "nine.nii": (content(nifti(**dimensions(9, 64, 48))), "header is damaged"),
    "negative.nii": (content(nifti(**dimensions(2, -64, 48))), "header is damaged"),
    "complex.nii": (lambda path: write_nifti(path, np.zeros((48, 64), np.complex64)), "complex64"),
    "frames.dcm": (dicom(NumberOfFrames=10**8), "header is incomplete"),
    "segmentation.dcm": (dicom(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), "segmentation, not a picture"),
    "no pixels.dcm": (dicom(PixelData=None), "incomplete"),
    "no picture.dcm": (dicom(PixelData=None, Rows=None, Columns=None), "without a picture"),
    "colours.dcm": (dicom(PhotometricInterpretation="HSV"), "neither grey"),
    "syntax.dcm": (
        altered(lambda data: data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")),
        "transfer syntax",
    ),
    "folder.png": (folder(0o755), "empty folder"),
    "locked.png": (unreadable, "Permission denied"),
    "locked": (folder(0, "a.png"), "Permission denied"),
    "listed/a.png": (listed, "Permission denied"),
    "up": (link("."), "folder that it lies in"),
    "broken.png": (link("nothing.png"), "leads to no file"),
    "zero.png": (link("/dev/zero"), "device, pipe or socket"),
    "null.png": (link("/dev/null"), "device, pipe or socket"),
    "pipe.png": (os.mkfifo, "device, pipe or socket"),
    "socket.png": (bound_socket, "device, pipe or socket"),
    "memory.png": (link("/proc/self/mem"), "Input/output error"),
}

# Small files that take all memory there is, if they are let.
BOMBS: dict[str, Writer] = {"bomb.tif": tiff_bomb, "bomb.dcm": dicom_bomb}

# Links that cannot be followed to their end.
CIRCLES: dict[str, Writer] = {
    "self.png": link("self.png"),
    "one.png": link("other.png"),
    "other.png": link("one.png"),
    "chain.png": chain,
}

ODD_NAMES = [
    "new\nline.png",
    "carriage\rreturn.png",
    "quote\"'`.png",
    "<img src=x onerror=alert(1)>&amp;.png",
    "{{ 7 * 7 }}.png",
    "=1+1,2;3.png",
    "\x1b[31mred\x07.png",
    "\u202egnp.png",
    "😀 e\u0301.png",
    os.fsdecode(b"\xff\xfe.png"),
    "-o.png",
    " .png",
    "dots....png",
    "%2e%2e%2f#?.png",
    "back\\slash.png",
    "CON.png",
    "[a-z]*.png",
    "x" * 251 + ".png",
]
BAD |= {f"odd/{name}": (content("no picture"), "no PNG") for name in ODD_NAMES}


def _broken_exif(path: Path) -> None:
    data = write_picture(path).read_bytes()
    broken = b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(20)
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken + data[2:])


def _not_finite(path: Path) -> None:
    values = rgb(0)[..., 0].astype(np.float32)
    values[:4, :4], values[8, 8] = np.nan, np.inf
    write_nifti(path, values)


# What libraries have a word to say about, which is not for the user of this program: neither names the file.
WARNED: dict[str, Writer] = {
    "broken exif.jpg": _broken_exif,
    "circle.tif": tiff_that_goes_in_circles,
    "large.png": content(png(10_000, 10_000, (b"IDAT", zlib.compress(bytes(99))))),
    "tall.tif": tiff_tag(257, 60_000),
}

# What nobody means who names a folder.
HIDDEN = dict.fromkeys([".hidden.png", "...png", "....png", ".trash/a.png", "._a.png"], content(saved("PNG")))

# What looks as if it were bad, and is not.
READABLE: dict[str, Writer] = {
    "good.png": write_picture,
    "good.jpg": lambda path: write_picture(path, 1),
    "good/b.bmp": lambda path: write_picture(path, 2),
    "not finite.nii": _not_finite,
    "png.jpg": content(saved("PNG")),
    "patient.dcm": write_picture,
    "dicom.png": lambda path: write_picture(path.with_suffix(".dcm")).rename(path),
    "album.png/in a folder.png": write_picture,
    "link to a file.png": link("good.png"),
    "link to a folder.png": link("good"),
    **{f"names/{name}": write_picture for name in ODD_NAMES},
}


def write(folder: Path, files: dict[str, Writer]) -> None:
    """Write some of them."""
    for name, write_one in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_one(folder / name)
