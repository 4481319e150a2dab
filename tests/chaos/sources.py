"""Small pictures of every kind of file and way to store it, each with the places of numbers that readers trust."""

from __future__ import annotations

import functools
import gzip
import io
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import nibabel
import numpy as np
import pydicom
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from tests.chaos.pictures import SECRET, rgb, write_dicom

__all__ = ["PNG", "SOURCES", "Field", "Source", "png_chunks", "sources"]

PNG = b"\x89PNG\r\n\x1a\n"
_WIDTH, _HEIGHT = 40, 32  # as few as JPEG 2000 can encode
_TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
_FROM_PYDICOM = (
    *("ExplVR_BigEnd", "JPEGLSNearLossless_08", "JPEGLSNearLossless_16"),
    *("MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless"),
    *("MR_small_jpeg_ls_lossless", "MR_small_padded", "SC_rgb_dcmtk_+eb+cr"),
    *("SC_rgb_dcmtk_+eb+cy+s4", "SC_rgb_gdcm_KY", "SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample"),
    *("SC_rgb_jpeg_gdcm", "SC_rgb_rle_16bit_2frame", "SC_rgb_rle_2frame", "SC_rgb_small_odd"),
    *("SC_rgb_small_odd_big_endian", "SC_rgb_small_odd_jpeg", "rtdose_rle_1frame", "UN_sequence"),
)


class Field(NamedTuple):
    """Where a number stands."""

    start: int
    size: int
    order: str  # of its bytes: little or big, or text


class Source(NamedTuple):
    """A file as it should be, and how it is damaged."""

    content: bytes
    fields: Sequence[Field] = ()
    mend: Callable[[bytes], bytes] = bytes  # puts right what depends on other bytes: a checksum
    unpack: Callable[[bytes], bytes] = bytes  # gives what is compressed, where the content is the packed file
    pack: Callable[[bytes], bytes] = bytes


def png_chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Chunks of a PNG, and where they are."""
    place = len(PNG)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        yield place, data[place:end]
        place = end


def _png_mended(data: bytes) -> bytes:
    """The same with right checksums."""
    if not data.startswith(PNG):
        return data
    chunks = [chunk for _, chunk in png_chunks(data)]
    return PNG + b"".join(chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])) for chunk in chunks)


def _png_unpacked(data: bytes) -> bytes:
    """The rows of a PNG: a byte that names a filter, and what it has made of the pixels."""
    return zlib.decompress(b"".join(chunk[8:-4] for _, chunk in png_chunks(data) if chunk[4:8] == b"IDAT"))


def _png_packed(like: bytes, rows: bytes) -> bytes:
    content = zlib.compress(rows)
    kept = [chunk for _, chunk in png_chunks(like) if chunk[4:8] != b"IDAT"]
    kept.insert(-1, struct.pack(">I", len(content)) + b"IDAT" + content + bytes(4))
    return _png_mended(PNG + b"".join(kept))


def _png(image: Image.Image, **options: Any) -> Source:
    text, exif = PngImagePlugin.PngInfo(), Image.Exif()
    text.add_text("Author", SECRET)
    text.add_text("Comment", SECRET, zip=True)
    text.add_itxt("Title", SECRET)
    exif[0x0112], exif[0x013B], exif[0x010E] = 6, SECRET, SECRET
    content = _saved(image, "PNG", pnginfo=text, exif=exif, **options)
    fields = [Field(place, 4, "big") for place, _ in png_chunks(content)]
    header = [Field(16, 4, "big"), Field(20, 4, "big"), *(Field(place, 1, "big") for place in range(24, 29))]
    return Source(content, fields + header, _png_mended)


def _png_rows(source: Source) -> Source:
    """The same, damaged below the compression."""
    return Source(source.content, (), bytes, _png_unpacked, functools.partial(_png_packed, source.content))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _jpeg(mode: str = "RGB", **options: Any) -> Source:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, SECRET
    content = _saved(Image.fromarray(_rgb(0)).convert(mode), "JPEG", exif=exif, comment=SECRET, **options)
    return Source(content, [Field(found.end(), 2, "big") for found in re.finditer(rb"\xff[\xc0-\xfe]", content)])


def _tiff(*levels: NDArray[Any], **options: Any) -> Source:
    """One page, or the levels of a slide."""
    file = io.BytesIO()
    options = {"description": SECRET, "artist": SECRET, "software": "tifffile", "photometric": "rgb"} | options
    artist, more = options.pop("artist"), {"resolution": (20_000, 20_000), "resolutionunit": "centimeter"}
    with tifffile.TiffWriter(file, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("order", "<")) as tiff:
        for number, level in enumerate(levels):
            extra = {"subfiletype": 1 if number else 0, "extratags": [(315, "s", 0, artist, True)]}
            tiff.write(level, **options, **more, **extra, metadata=None)
    return Source(file.getvalue(), list(_tiff_fields(file)))


def _tiff_fields(file: io.BytesIO) -> Iterator[Field]:
    """Types, counts and values of tags, and where directories are."""
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        order, wide = ("little" if tiff.byteorder == "<" else "big"), tiff.is_bigtiff
        yield Field(8 if wide else 4, 8 if wide else 4, order)
        for page in tiff.pages:
            for tag in page.tags:
                yield Field(tag.offset + 2, 2, order)
                yield Field(tag.offset + 4, 8 if wide else 4, order)
                if tag.dtype in (1, 3, 4, 5, 16):
                    size = {1: 1, 3: 2, 4: 4, 5: 4, 16: 8}[tag.dtype]
                    for place in range(min(tag.count, 4)):
                        yield Field(tag.valueoffset + place * size, size, order)
                yield Field(tag.offset + (12 if wide else 8), 8 if wide else 4, order)  # where long values are


def _nifti(array: NDArray[Any], packed: bool = False, two: bool = False, **fields: Any) -> Source:
    kind = nibabel.Nifti2Image if two else nibabel.Nifti1Image
    image = kind(array.swapaxes(0, 1), np.eye(4))
    image.header["descrip"] = image.header["aux_file"] = SECRET.encode()
    for name, value in fields.items():
        image.header[name] = value
    content = image.to_bytes()
    types = image.header.template_dtype
    places = [
        Field(types.fields[name][1] + place * base.itemsize, base.itemsize, "little")
        for name in types.names
        for base, shape in [types[name].subdtype or (types[name], ())]
        if base.kind in "if"
        for place in range(int(np.prod(shape)))
    ]
    if not packed:
        return Source(content, places)
    return Source(gzip.compress(content, mtime=0), places, bytes, gzip.decompress, _gzipped)


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def _rgb(seed: int) -> NDArray[np.uint8]:
    return rgb(seed, _WIDTH, _HEIGHT)


def _deep_grey() -> NDArray[np.uint16]:
    return _rgb(0)[..., 0].astype(np.uint16) << 4


def _dicom(array: NDArray[Any] | None = None, change: Callable[[Dataset], None] | None = None, **tags: Any) -> Dataset:
    """A picture with a patient's name, grey if nothing else is said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.dcm")
        write_dicom(path, _rgb(0)[..., 0] if array is None else array, PixelSpacing=[0.25, 0.5], **tags)
        data = pydicom.dcmread(path)
    data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20260101", "120000", "1", "1"
    data.PatientBirthDate, data.PatientSex, data.ReferringPhysicianName, data.Modality = "19700101", "O", SECRET, "OT"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.3.4", "1.2.3.5", "1.2.3.6"
    if change is not None:
        change(data)
    return data


def _colours() -> Dataset:
    pictures = np.stack([_rgb(1), _rgb(2)])
    data = _dicom(pictures[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    data.NumberOfFrames, data.PixelData = 2, pictures.tobytes()
    return data


def _deep() -> Dataset:
    """A grey picture of 16 bits."""
    data = _dicom(_rgb(0)[..., 0], BitsAllocated=16, BitsStored=12, HighBit=11)
    data.PixelData = _deep_grey().tobytes()
    return data


def _windowed() -> Dataset:
    """With all that says how a value is shown, and how large a pixel is."""
    data = _deep()
    data.RescaleSlope, data.RescaleIntercept, data.WindowCenter, data.WindowWidth = 2, -1000, [40, 400], [400, 80]
    table, region, measures, shared = Dataset(), Dataset(), Dataset(), Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], np.arange(0, 65536, 256, np.uint16).tobytes()
    data.VOILUTSequence = [table]
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.01
    data.SequenceOfUltrasoundRegions = [region]
    measures.PixelSpacing, shared.PixelMeasuresSequence = [0.1, 0.2], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    del data.PixelSpacing
    return data


def _palette() -> Dataset:
    data = _dicom(_rgb(4)[..., 0] // 8, PhotometricInterpretation="PALETTE COLOR")
    for number, colour in enumerate(("Red", "Green", "Blue")):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [32, 0, 16])
        values = (np.arange(32) * (number + 5) * 400 % 65536).astype("<u2")
        setattr(data, f"{colour}PaletteColorLookupTableData", values.tobytes())
    return data


def _slide() -> Dataset:
    """A level of a whole slide in tiles."""
    data = _colours()
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.VLWholeSlideMicroscopyImageStorage
    data.ImageType, data.Modality = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "SM"
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = 2 * _WIDTH, _HEIGHT
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, shared.PixelMeasuresSequence = [0.0005, 0.0005], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    data.DimensionOrganizationType, data.ImageOrientationSlide = "TILED_FULL", [0, 1, 0, 1, 0, 0]
    return _encapsulated(data, uid.JPEGBaseline8Bit, [_saved(Image.fromarray(_rgb(n)), "JPEG") for n in (1, 2)])


def _encapsulated(data: Dataset, syntax: str, frames: list[bytes]) -> Dataset:
    data.PixelData, data.file_meta.TransferSyntaxUID = encapsulate(frames), uid.UID(syntax)
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    return data


def _compressed(data: Dataset, syntax: str) -> Dataset:
    data.compress(syntax, generate_instance_uid=False)
    return data


def _dicom_file(data: Dataset, syntax: str = "") -> Source:
    """As stored, in another transfer syntax if wanted; deflated ones are damaged below the compression, too."""
    if syntax:
        data.file_meta.TransferSyntaxUID = uid.UID(syntax)
    content = _written(data)
    if data.file_meta.TransferSyntaxUID != uid.DeflatedExplicitVRLittleEndian:
        return Source(content, _dicom_fields(content))
    start = 144 + int.from_bytes(content[140:144], "little")
    meta, inside = content[:start], zlib.decompress(content[start:], -15)
    return Source(content, (), bytes, lambda _: inside, lambda inner: meta + _deflated(inner))


def _written(data: Dataset) -> bytes:
    file, syntax = io.BytesIO(), data.file_meta.TransferSyntaxUID
    order = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    # a data set that was made as little endian is not written as any other, unless it is a new one
    fresh = Dataset({tag: data[tag] for tag in data.keys()})  # noqa: SIM118 - others would be the elements
    fresh.file_meta, fresh.preamble = data.file_meta, bytes(128)
    pydicom.dcmwrite(file, fresh, **order, enforce_file_format=True)
    return file.getvalue()


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def _dicom_fields(content: bytes) -> list[Field]:
    """Lengths and numbers of attributes that matter to the pixels, and lengths of their fragments."""
    data = pydicom.dcmread(io.BytesIO(content))
    return list(_attribute_fields(data.file_meta, content)) + list(_attribute_fields(data, content))


def _attribute_fields(data: Dataset, content: bytes) -> Iterator[Field]:
    little, implicit = data.original_encoding[1], data.original_encoding[0]
    little = True if little is None else little
    order = "little" if little else "big"
    for tag in data.keys():  # noqa: SIM118
        element = data.get_item(tag, keep_deferred=True)
        if not hasattr(element, "value_tell"):
            continue
        long = implicit or element.VR in ("OB", "OW", "OF", "SQ", "UN", "UT", "UC", "UR", "OD", "OL", "OV")
        length = 4 if long else 2
        yield Field(element.value_tell - length, length, order)
        size = element.length if element.length != 2**32 - 1 else 0
        if element.VR in ("US", "SS") or (implicit and tag.group == 0x28 and size == 2):
            yield from [Field(element.value_tell, 2, order)] * 3
        elif element.VR in ("IS", "DS", "CS") and size:
            yield from [Field(element.value_tell, size, "text")] * 2
        elif tag == 0x7FE00010:
            for found in re.finditer(rb"\xfe\xff\x00\xe0|\xfe\xff\xdd\xe0", content[element.value_tell - 1 :]):
                yield Field(element.value_tell - 1 + found.end(), 4, "little")


def _pydicom_file(name: str) -> Source:
    """One of pydicom's, with the patient's name."""
    data = pydicom.dcmread(_TEST_FILES / f"{name}.dcm")
    data.PatientName = data.PatientID = data.InstitutionName = SECRET
    return _dicom_file(data)


def _jpeg_of(mode: str, seed: int) -> bytes:
    return _saved(Image.fromarray(_rgb(seed)).convert(mode), "JPEG")


def _makers() -> dict[str, Callable[[], Source]]:
    grey, colour = _rgb(3)[..., 0], _rgb(5)
    pyramid = [rgb(6, 64, 64), rgb(6, 64, 64)[::2, ::2]]
    tiled = {"tile": (16, 16)}
    aperio = f"Aperio Image Library v1\r\n64x64|AppMag = 20|MPP = 0.5|Patient = {SECRET}|Title = {SECRET}"
    ybr = {"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    dicom: dict[str, Callable[[], Source]] = {
        "native": lambda: _dicom_file(_dicom()),
        "frames": lambda: _dicom_file(_dicom(np.stack([_rgb(n)[..., 0] for n in range(3)]), NumberOfFrames=3)),
        "colours": lambda: _dicom_file(_colours()),
        "implicit": lambda: _dicom_file(_windowed(), uid.ImplicitVRLittleEndian),
        "big endian": lambda: _dicom_file(_dicom(), uid.ExplicitVRBigEndian),
        "deflated": lambda: _dicom_file(_deep(), uid.DeflatedExplicitVRLittleEndian),
        "windowed": lambda: _dicom_file(_windowed()),
        "palette": lambda: _dicom_file(_palette()),
        "rle": lambda: _dicom_file(_compressed(_deep(), uid.RLELossless)),
        "rle palette": lambda: _dicom_file(_compressed(_palette(), uid.RLELossless)),
        "rle frames": lambda: _dicom_file(_compressed(_colours(), uid.RLELossless)),
        "jpeg": lambda: _dicom_file(_encapsulated(_dicom(), uid.JPEGBaseline8Bit, [_jpeg_of("L", 0)])),
        "jpeg frames": lambda: _dicom_file(
            _encapsulated(
                _dicom(**ybr, NumberOfFrames=2), uid.JPEGBaseline8Bit, [_jpeg_of("RGB", 1), _jpeg_of("RGB", 2)]
            )
        ),
        "jpeg lossless": lambda: _dicom_file(
            _encapsulated(_dicom(), uid.JPEGLosslessSV1, [imagecodecs.ljpeg_encode(_rgb(0)[..., 0])])
        ),
        "jpeg lossless 16": lambda: _dicom_file(
            _encapsulated(_deep(), uid.JPEGLossless, [imagecodecs.ljpeg_encode(_deep_grey())])
        ),
        "jpeg extended": lambda: _dicom_file(
            _encapsulated(_deep(), uid.JPEGExtended12Bit, [imagecodecs.jpeg_encode(_deep_grey(), bitspersample=12)])
        ),
        "jpeg-ls": lambda: _dicom_file(_compressed(_deep(), uid.JPEGLSLossless)),
        "jpeg-ls frames": lambda: _dicom_file(_compressed(_colours(), uid.JPEGLSLossless)),
        "jpeg 2000": lambda: _dicom_file(_compressed(_deep(), uid.JPEG2000Lossless)),
        "jpeg 2000 frames": lambda: _dicom_file(_compressed(_colours(), uid.JPEG2000Lossless)),
        "slide": lambda: _dicom_file(_slide()),
        **{name: functools.partial(_pydicom_file, name) for name in _FROM_PYDICOM},
    }
    tiff: dict[str, Callable[[], Source]] = {
        "strips": lambda: _tiff(colour, rowsperstrip=4),
        "big endian": lambda: _tiff(colour, order=">"),
        "clinic": lambda: _tiff(colour, photometric="minisblack", planarconfig="contig"),
        "planar": lambda: _tiff(colour.transpose(2, 0, 1), planarconfig="separate"),
        "tiles": lambda: _tiff(colour, **tiled),
        "lzw": lambda: _tiff(colour, compression="lzw", predictor=True),
        "deflate": lambda: _tiff(colour, compression="zlib", rowsperstrip=4),
        "packbits": lambda: _tiff(grey, compression="packbits", photometric="minisblack"),
        "jpeg": lambda: _tiff(colour, compression="jpeg", **tiled),
        "jpeg 2000": lambda: _tiff(colour, compression="jpeg2000", **tiled),
        "16 bit": lambda: _tiff(grey.astype(np.uint16) << 8, photometric="minisblack"),
        "bit": lambda: _tiff(grey > 120, photometric="miniswhite"),
        "palette": lambda: _tiff(
            grey,
            photometric="palette",
            colormap=np.arange(768, dtype=np.uint16).reshape(3, 256) * 80,
        ),
        "bigtiff": lambda: _tiff(colour, bigtiff=True, compression="zlib"),
        "pyramid jpeg": lambda: _tiff(*pyramid, **tiled, compression="jpeg"),
        "pyramid lzw": lambda: _tiff(*pyramid, **tiled, compression="lzw"),
        "pyramid deflate": lambda: _tiff(*pyramid, **tiled, compression="zlib", bigtiff=True),
        "pyramid aperio": lambda: _tiff(*pyramid, **tiled, compression="jpeg", description=aperio),
        "pyramid jpeg 2000": lambda: _tiff(*pyramid, **tiled, compression="aperio_jp2000_rgb", description=aperio),
    }
    png: dict[str, Callable[[], Source]] = {
        "grey": lambda: _png(Image.fromarray(grey)),
        "colours": lambda: _png(Image.fromarray(colour)),
        "rows": lambda: _png_rows(_png(Image.fromarray(colour))),
        "palette": lambda: _png(Image.fromarray(colour).quantize(32), transparency=3),
        "alpha": lambda: _png(Image.fromarray(np.dstack([colour, grey]))),
        "16 bit": lambda: _png(Image.fromarray(grey.astype(np.uint16) * 257)),
        "bit": lambda: _png(Image.fromarray(grey > 120)),
        "bit rows": lambda: _png_rows(_png(Image.fromarray(grey > 120))),
    }
    jpeg: dict[str, Callable[[], Source]] = {
        "grey": lambda: _jpeg("L"),
        "colours": lambda: _jpeg(),
        "progressive": lambda: _jpeg(progressive=True),
        "print": lambda: _jpeg("CMYK"),
    }
    other: dict[str, Callable[[], Source]] = {
        "bytes.nii": lambda: _nifti(grey),
        "bytes.nii.gz": lambda: _nifti(grey, packed=True),
        "numbers.nii": lambda: _nifti(
            np.stack([grey, grey], -1).astype(np.int16), scl_slope=2, scl_inter=-5, xyzt_units=2
        ),
        "two.nii.gz": lambda: _nifti(np.stack([grey, grey], -1).astype(np.float32), packed=True, two=True),
        "colours.nii": lambda: _nifti(colour.view([(name, "u1") for name in "RGB"])[..., 0]),
        "colours.bmp": lambda: Source(
            _saved(Image.fromarray(colour), "BMP"), [Field(place, 4, "little") for place in range(2, 54, 4)]
        ),
        "palette.bmp": lambda: Source(
            _saved(Image.fromarray(grey).quantize(16), "BMP"), [Field(place, 4, "little") for place in range(2, 54, 4)]
        ),
    }
    named = [
        (f"{name}.{kind}", make)
        for kind, group in (("dcm", dicom), ("tif", tiff), ("png", png), ("jpg", jpeg))
        for name, make in group.items()
    ]
    return dict(named) | other


@functools.cache
def sources() -> dict[str, Source]:
    return {name: make() for name, make in _makers().items()}


SOURCES = tuple(_makers())
