"""Point clouds of the Point Cloud Library: parse and render the bytes of a .pcd file.

A header of lines names the fields of a point, their size, type and count; the data follow as text (`ascii`), as
records (`binary`), or as LZF-compressed columns (`binary_compressed`).

Source: "The PCD (Point Cloud Data) file format", pointclouds.org; LZF: the format of liblzf's stream.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np

from filters.jit import jit
from fogsim.errors import UserError

GROWTH = 88  # bytes that unpack from one at most: copies of 264 from 3
KINDS = ("ascii", "binary", "binary_compressed")
HOME = "0 0 0 1 0 0 0"  # viewpoint of a cloud whose sensor is its origin
MARK = b"\nDATA "


class Header(NamedTuple):
    """What a header says: fields with the type of each, how many points, the viewpoint and the kind of data."""

    fields: tuple[str, ...]
    sizes: tuple[int, ...]
    types: tuple[str, ...]
    counts: tuple[int, ...]
    points: int
    viewpoint: str
    kind: str

    @property
    def dtype(self) -> np.dtype:
        """One record per point; fields named _ are padding, numbered to be told apart."""
        names = [f"_{k}" if name == "_" else name for k, name in enumerate(self.fields)]
        bases = [{"F": "f", "U": "u", "I": "i"}[t] + str(s) for t, s in zip(self.types, self.sizes, strict=True)]
        parts = zip(names, bases, self.counts, strict=True)
        return np.dtype([(name, "<" + base) if c == 1 else (name, "<" + base, (c,)) for name, base, c in parts])


def is_pcd(data: bytes) -> bool:
    """Whether bytes begin like a .pcd file."""
    return data[:512].lstrip().startswith((b"# .PCD", b"VERSION", b"FIELDS"))


def parse(data: bytes) -> tuple[np.ndarray, Header]:
    """Read a cloud.

    Returns
    -------
    one record per point, and the header

    Raises
    ------
    UserError
        If the header lacks an entry or holds a wrong one, the data end early, or the sensor is not at the origin.
        The caller names the file.
    """
    header, start = parse_header(data)
    body = data[start:]
    if header.kind == "ascii":
        return parse_text(body, header), header
    if header.kind == "binary_compressed":
        return parse_columns(body, header), header
    needed = header.points * header.dtype.itemsize
    if len(body) < needed:
        raise UserError(f"found {len(body)} bytes of data, expected {needed}: truncated; copy it again")
    return np.frombuffer(body, header.dtype, header.points), header


def parse_header(data: bytes) -> tuple[Header, int]:
    """The header, and where the data begin."""
    mark = data.find(MARK)
    end = data.find(b"\n", mark + 1)
    if mark < 0 or end < 0:
        raise UserError("found no DATA line, expected the header of a .pcd file: export it again")
    lines = [line.split(None, 1) for line in data[:end].decode("latin-1").splitlines() if line[:1] != "#"]
    said = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    missing = [word for word in ("FIELDS", "SIZE", "TYPE", "POINTS") if word not in said]
    if missing:
        raise UserError(f"found a header without {', '.join(missing)}, expected one of .pcd 0.7: export it again")
    fields = tuple(said["FIELDS"].split())
    try:
        sizes = tuple(int(word) for word in said["SIZE"].split())
        counts = tuple(int(word) for word in said.get("COUNT", " ".join("1" for _ in fields)).split())
        points = int(said["POINTS"])
        header = Header(
            fields, sizes, tuple(said["TYPE"].split()), counts, points, said.get("VIEWPOINT", HOME), said["DATA"]
        )
        np.empty(0, header.dtype)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"found a header that contradicts itself ({error}): export it again") from error
    check(header)
    return header, end + 1


def check(header: Header) -> None:
    """Refuse a kind of data that is not known, a negative number of points, and a sensor away from the origin."""
    if header.kind not in KINDS:
        raise UserError(f"found DATA {header.kind}, expected one of {', '.join(KINDS)}: export it as one of these")
    if header.points < 0:
        raise UserError(f"found POINTS {header.points}, expected 0 or more: export it again")
    place = header.viewpoint.split()[:3]
    if any(word.strip("+-0.") for word in place):
        raise UserError(
            f"found the sensor at VIEWPOINT {' '.join(place)}, expected 0 0 0: move the cloud so that it is the origin"
        )


def parse_text(body: bytes, header: Header) -> np.ndarray:
    """Records from lines of text."""
    if not header.points:
        return np.empty(0, header.dtype)
    try:
        rows = np.loadtxt(io.BytesIO(body), header.dtype, ndmin=1)
    except (ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"found a line that is not a point ({reason}): export it again") from error
    if len(rows) != header.points:
        raise UserError(f"found {len(rows)} points, expected {header.points}: truncated; copy it again")
    return rows


def parse_columns(body: bytes, header: Header) -> np.ndarray:
    """Records from compressed data, in which all values of a field lie together."""
    if not header.points:
        return np.empty(0, header.dtype)
    packed, size = np.frombuffer(body[:8].ljust(8, b"\0"), "<u4").tolist()
    needed = header.points * header.dtype.itemsize
    if size != needed or len(body) < 8 + packed or size > GROWTH * packed:
        raise UserError(
            f"found {len(body)} bytes of compressed data for {size}, expected {needed} for POINTS {header.points}:"
            " truncated or damaged; copy it again"
        )
    rows, plain = np.empty(header.points, header.dtype), np.empty(size, np.uint8)
    if unpack(np.frombuffer(body, np.uint8, packed, 8), plain) != size:
        raise UserError("found compressed data that do not unpack: damaged; copy it again")
    place = 0
    for name in header.dtype.names or ():
        column = rows[name]
        column[...] = plain[place : place + column.nbytes].view(column.dtype).reshape(column.shape)
        place += column.nbytes
    return rows


@jit
def unpack(packed: np.ndarray, plain: np.ndarray) -> int:
    """Undo LZF: runs of literals, and copies (distance, length) of what is out already.

    Returns how many bytes are out, -1 if the data are damaged.
    """
    i, o = 0, 0
    while i < packed.size:
        control = int(packed[i])
        i += 1
        if control < 32:
            if i + control >= packed.size or o + control >= plain.size:
                return -1
            for _ in range(control + 1):
                plain[o] = packed[i]
                i, o = i + 1, o + 1
            continue
        length = control >> 5
        if length == 7 and i < packed.size:
            length += int(packed[i])
            i += 1
        if i >= packed.size:
            return -1
        back = o - ((control & 31) << 8) - int(packed[i]) - 1
        i += 1
        if back < 0 or o + length + 2 > plain.size:
            return -1
        for _ in range(length + 2):
            plain[o] = plain[back]
            o, back = o + 1, back + 1
    return o


def render(rows: np.ndarray, header: Header) -> bytes:
    """A cloud's bytes: as text if it came as text, else as records; its points in one line, no longer in a grid."""
    kind = "ascii" if header.kind == "ascii" else "binary"
    lines = (
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(header.fields)}",
        f"SIZE {' '.join(map(str, header.sizes))}",
        f"TYPE {' '.join(header.types)}",
        f"COUNT {' '.join(map(str, header.counts))}",
        f"WIDTH {len(rows)}",
        "HEIGHT 1",
        f"VIEWPOINT {header.viewpoint}",
        f"POINTS {len(rows)}",
        f"DATA {kind}",
    )
    return "\n".join(lines).encode() + b"\n" + (text_of(rows) if kind == "ascii" else rows.tobytes())


def text_of(rows: np.ndarray) -> bytes:
    """One line per record, with as many digits as give every value back."""
    columns: list[list[str]] = []
    for name in rows.dtype.names or ():
        values = rows[name].reshape(len(rows), -1)
        digits = {"f4": "%.9g", "f8": "%.17g"}.get(values.dtype.str[1:], "%d")
        columns += [[digits % value for value in column] for column in values.T.tolist()]
    return "".join(" ".join(line) + "\n" for line in zip(*columns, strict=True)).encode()
