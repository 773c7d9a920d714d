"""Marks image files as made by a model: the IPTC's digital source type, as XMP, beside the pixels.

Only containers are rewritten, chunk by chunk: the coded pixels stay as they are, and equal files give equal files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from pipelines.dataset import mp4

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""The IPTC's term for media that a trained model has made."""

_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_PNG) + 4 + 4 + 13 + 4
"""Where the first chunk of a PNG, its header, ends: length, type, content, checksum."""

_JPEG = b"\xff\xd8"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
"""What a JPEG's segment of application data begins with where it holds XMP."""

_MP4_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The name of an MP4's box that holds XMP."""

_HAS_XMP, _HAS_ALPHA = 0x04, 0x10
"""Bits of the first byte of a WebP's extended header."""


def marked(data: bytes) -> bytes:
    """An image file with the mark; its pixels are the same.

    data: a PNG, a JPEG, a lossless WebP or an MP4, as `pipelines.dataset.images` and `videos` encode it.

    Raises:
        ValueError: when it is another file.
    """
    if data.startswith(_PNG):
        return data[:_HEADER_END] + _png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP) + data[_HEADER_END:]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp([*_extended(_webp_chunks(data)), (b"XMP ", _XMP)])
    if data.startswith(_JPEG):
        return _jpeg(data)
    if mp4.is_one(data):  # at its end, as its index has the places of what is before
        return data + struct.pack(">I", 8 + len(_MP4_XMP) + len(_XMP)) + b"uuid" + _MP4_XMP + _XMP
    raise ValueError(
        f"the image begins with {data[:12]!r}: only PNG, JPEG, WebP and MP4 can be marked; leave the mark out"
    )


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _jpeg(data: bytes) -> bytes:
    at = len(_JPEG)
    if data[at : at + 2] == b"\xff\xe0":  # JFIF's own segment has to come first
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    content = _JPEG_XMP + _XMP
    return data[:at] + b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content + data[at:]


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _extended(chunks: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The chunks, with an extended header that says that XMP follows."""
    (kind, first), *rest = chunks
    if kind == b"VP8X":
        yield kind, bytes([first[0] | _HAS_XMP]) + first[1:]
    elif kind == b"VP8L":
        # After a byte of signature, 14 bits each of width - 1 and height - 1, and one for alpha.
        bits = int.from_bytes(first[1:5], "little")
        sides = (bits & 0x3FFF, bits >> 14 & 0x3FFF)
        flags = _HAS_XMP | (_HAS_ALPHA if bits >> 28 & 1 else 0)
        yield b"VP8X", bytes([flags, 0, 0, 0]) + b"".join(side.to_bytes(3, "little") for side in sides)
        yield kind, first
    else:
        raise ValueError(f"the WebP begins with {kind!r}: only lossless ones can be marked; leave the mark out")
    yield from rest


def _webp(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body
