"""Real sweeps in files: what is read, what is refused, and how."""

import os
from pathlib import Path

import numpy as np
import pytest

from fogsim import pcd
from fogsim.errors import UserError
from fogsim.scans import read_scan, read_sweep, with_points, write_sweep


@pytest.fixture(scope="module")
def sweep():
    """(2000, 4) points about a sensor 1.7 m up, intensities up to 0.9."""
    rows = np.random.default_rng(0).uniform([-50, -50, -1.7, 0.0], [50, 50, 3.0, 0.9], (2000, 4))
    rows[0, 3] = 0.9
    return rows


def save(path, rows):
    np.asarray(rows, "<f4").tofile(path)
    return path


def as_stf(sweep):
    return np.column_stack([sweep[:, :3], np.round(sweep[:, 3] * 255), np.arange(len(sweep)) % 64])


@pytest.mark.parametrize("layout", ["auto", "kitti"])
def test_kitti_is_read_as_written(tmp_path, sweep, layout):
    scan = read_scan(save(tmp_path / "a.bin", sweep), layout)
    assert scan.layout == "kitti"
    assert scan.points.dtype == np.float64
    np.testing.assert_allclose(scan.points, sweep[:, :3], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scan.intensity, sweep[:, 3], rtol=1e-6)


@pytest.mark.parametrize("layout", ["auto", "stf"])
@pytest.mark.parametrize("rows", [1000, 1004])
def test_stf_is_told_from_kitti_even_where_the_size_fits_both(tmp_path, sweep, layout, rows):
    scan = read_scan(save(tmp_path / "a.bin", as_stf(sweep)[:rows]), layout)
    assert scan.layout == "stf"
    np.testing.assert_allclose(scan.intensity, np.round(sweep[:rows, 3] * 255) / 255, rtol=1e-6)
    np.testing.assert_allclose(scan.points, sweep[:rows, :3], rtol=1e-6, atol=1e-6)


def test_kitti_whose_size_fits_both_is_kitti(tmp_path, sweep):
    assert read_scan(save(tmp_path / "a.bin", sweep[:1000])).layout == "kitti"


def test_rays_without_return_are_dropped_and_counted(tmp_path, sweep):
    rows = np.vstack([sweep[:100], np.zeros((7, 4))])
    scan = read_scan(save(tmp_path / "a.bin", rows))
    assert (len(scan.points), len(scan.intensity), scan.dropped) == (100, 100, 7)


def changed(rows, column, value):
    rows = np.array(rows[:1001])
    rows[5, column] = value
    return rows


BAD_VALUES = {
    "not a number": (lambda s: changed(s, 1, np.nan), "auto", ["not finite in 1 of 1001", "point 5", "export"]),
    "infinite": (lambda s: changed(s, 0, np.inf), "kitti", ["not finite in 1 of 1001", "export"]),
    "far": (lambda s: changed(s, 0, 4000.0), "auto", ["coordinate of 4e+03 m", "within 300 m", "convert"]),
    "kitti of 255": (lambda s: s[:1001] * [1, 1, 1, 255], "auto", ["up to 229.5", "expected 0-1", "divide"]),
    "kitti negative": (lambda s: changed(s, 3, -0.5), "kitti", ["negative intensity -0.5", "expected 0-1"]),
    "stf of 1": (lambda s: as_stf(s)[:1001] / [1, 1, 1, 255, 1], "stf", ["above 0.9", "expected 0-255", "multiply"]),
    "stf above 255": (lambda s: changed(as_stf(s), 3, 300.0), "stf", ["up to 300", "expected 0-255", "rescale"]),
    "stf negative": (lambda s: changed(as_stf(s), 3, -3.0), "stf", ["negative intensity -3", "expected 0-255"]),
    "laser": (lambda s: changed(as_stf(s), 4, 0.25), "stf", ["0.25 in column 5", "an integer of 0-255"]),
    "kitti as stf": (lambda s: s[:1000], "stf", ["read as stf", "reads well as kitti: use layout kitti"]),
    "kitti as stf by size": (lambda s: s[:1001], "stf", ["16016 bytes", "multiple of 20", "use layout kitti"]),
    "stf as kitti": (lambda s: as_stf(s)[:1000], "kitti", ["read as kitti", "reads well as stf: use layout stf"]),
    "stf as kitti by size": (lambda s: as_stf(s)[:1001], "kitti", ["multiple of 16", "use layout stf"]),
    "fits neither": (lambda s: changed(s[:1000], 0, np.nan), "auto", ["as kitti: found", "as stf: found"]),
    "unknown layout": (lambda s: s, "kiti", ["'kiti'", "auto, kitti, stf"]),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_values_say_what_was_found_and_expected(tmp_path, sweep, case):
    make, layout, words = BAD_VALUES[case]
    refuse(save(tmp_path / "a.bin", make(sweep)), layout, words)


def refuse(path, layout, words):
    with pytest.raises(UserError) as caught:
        read_scan(path, layout)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("layout", ["auto", "kitti", "stf"])
def test_a_truncated_file_is_refused(tmp_path, sweep, layout):
    path = save(tmp_path / "a.bin", sweep)
    whole = path.read_bytes()
    path.write_bytes(whole[:15999])
    refuse(path, layout, ["15999 bytes", "multiple of", "truncated", "copy it again"])


def test_a_missing_file_names_its_neighbours(tmp_path, sweep):
    save(tmp_path / "000008.bin", sweep[:10])
    refuse(tmp_path / "00008.bin", "auto", ["00008.bin not found", "did you mean 000008.bin?"])
    refuse(tmp_path / "sweeps" / "1.bin", "auto", ["not found", f"nor its folder {tmp_path / 'sweeps'}"])


def test_empty_folder_and_unreadable_are_refused(tmp_path, monkeypatch):
    refuse(save(tmp_path / "empty.bin", []), "auto", ["is empty", "expected points", "copy it again"])
    refuse(tmp_path, "auto", ["is a folder", "expected one sweep", "name a file"])

    def locked(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", locked)
    refuse(tmp_path / "empty.bin", "auto", ["cannot be read (Permission denied)", "check its permissions"])


def real(name):
    folders = [os.environ.get("FOGSIM_DATA"), Path(__file__).parents[1] / ".." / "shared" / "data"]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    pytest.skip(f"{name} is neither in FOGSIM_DATA nor in ../shared/data")


REAL = {"stf_hdl64.bin": ("stf", 109_431), "kitti_000008.bin": ("kitti", 17_238)}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_told_apart(name):
    scan = read_scan(real(name))
    assert (scan.layout, len(scan.points) + scan.dropped) == REAL[name]
    assert scan.intensity.min() >= 0
    assert 0.5 < scan.intensity.max() <= 1


@pytest.mark.parametrize("rows", [1000, 1004])
def test_nuscenes_is_told_by_its_name(tmp_path, sweep, rows):
    data = as_stf(sweep)[:rows]
    assert read_scan(save(tmp_path / "a.pcd.bin", data)).layout == "nuscenes"
    assert read_scan(save(tmp_path / "a.bin", data), "nuscenes").layout == "nuscenes"
    refuse(save(tmp_path / "b.pcd.bin", sweep[:1001] / 2), "nuscenes", ["16016 bytes", "use layout kitti"])


# PCD files.

FIELDS = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f8"), ("intensity", "<f4"), ("normal", "<f4", (3,)), ("t", "<i2")]
)


def records(sweep, count=500):
    """Points with other fields too, one of them an array, and a number that needs all its digits."""
    rows = np.zeros(count, FIELDS)
    for k, name in enumerate(["x", "y", "z", "intensity"]):
        rows[name] = sweep[:count, k]
    rows["normal"] = np.random.default_rng(1).standard_normal((count, 3))
    rows["t"] = np.arange(count) // 100 - 2  # long runs, for the compression
    return rows


def header(rows, kind, **changes):
    said = {
        "VERSION": "0.7",
        "FIELDS": "x y z intensity normal t",
        "SIZE": "4 4 8 4 4 2",
        "TYPE": "F F F F F I",
        "COUNT": "1 1 1 1 3 1",
        "WIDTH": str(len(rows)),
        "HEIGHT": "1",
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": str(len(rows)),
        **changes,
    }
    return ("# .PCD v0.7\n" + "".join(f"{k} {v}\n" for k, v in said.items() if v) + f"DATA {kind}\n").encode()


def squeeze(data):
    """LZF, slowly: the longest copy of what came before wherever it is worth it, else literals."""
    out, literals, i, seen = bytearray(), bytearray(), 0, {}

    def flush():
        for k in range(0, len(literals), 32):
            part = literals[k : k + 32]
            out.append(len(part) - 1)
            out.extend(part)
        literals.clear()

    while i < len(data):
        word = data[i : i + 3]
        at = seen.get(word, -1)
        seen[word] = i
        if len(word) < 3 or at < 0 or i - at > 8192:
            literals.append(data[i])
            i += 1
            continue
        length = 3
        while length < 264 and i + length < len(data) and data[at + length] == data[i + length]:
            length += 1
        flush()
        back, size = i - at - 1, length - 2
        out.append((min(size, 7) << 5) | (back >> 8))
        if size >= 7:
            out.append(size - 7)
        out.append(back & 255)
        i += length
    flush()
    return bytes(out)


def pcd_bytes(rows, kind):
    if kind == "ascii":
        lines = (" ".join(f"{v:.17g}" for v in np.hstack([np.ravel(x) for x in row.item()])) for row in rows)
        return header(rows, kind) + "\n".join(lines).encode() + b"\n"
    if kind == "binary":
        return header(rows, kind) + rows.tobytes()
    plain = b"".join(np.ascontiguousarray(rows[name]).tobytes() for name in rows.dtype.names)
    packed = squeeze(plain)
    assert len(packed) < len(plain) - 400, "else the copies go untested"
    return header(rows, kind) + np.array([len(packed), len(plain)], "<u4").tobytes() + packed


KINDS = ["ascii", "binary", "binary_compressed"]


@pytest.mark.parametrize("kind", KINDS)
def test_pcd_is_read_as_written_and_written_as_read(tmp_path, sweep, kind):
    rows = records(sweep)
    (tmp_path / "a.pcd").write_bytes(pcd_bytes(rows, kind))
    first = read_sweep(tmp_path / "a.pcd")
    assert (first.layout, first.full_scale) == ("pcd", 1.0)
    np.testing.assert_array_equal(first.rows, rows)
    write_sweep(first, tmp_path / "b.pcd")
    np.testing.assert_array_equal(read_sweep(tmp_path / "b.pcd").rows, rows)
    scan = read_scan(tmp_path / "a.pcd")
    np.testing.assert_array_equal(scan.points, first.points)
    np.testing.assert_array_equal(scan.intensity, rows["intensity"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_or_damaged_pcd_is_refused(tmp_path, sweep, kind):
    whole = pcd_bytes(records(sweep), kind)
    for size in (len(whole) - 40, len(header(records(sweep), kind)) + 3, 40):
        (tmp_path / "a.pcd").write_bytes(whole[:size])
        refuse(tmp_path / "a.pcd", "auto", ["a.pcd", "found"])


def error_of(path):
    try:
        read_sweep(path)
    except UserError as error:
        return str(error)
    return ""


def test_damaged_compression_is_refused_and_never_read_beyond(tmp_path, sweep):
    whole = bytearray(pcd_bytes(records(sweep), "binary_compressed"))
    start = len(header(records(sweep), "binary_compressed")) + 8
    rng, told = np.random.default_rng(0), []
    for _ in range(60):
        torn = whole.copy()
        torn[-1 - rng.integers(60)] ^= 0xE0
        (tmp_path / "a.pcd").write_bytes(torn)
        told.append(error_of(tmp_path / "a.pcd"))  # none where a literal has changed: nothing tells
    assert sum("a.pcd read as pcd: found" in line for line in told) > 3
    whole[start] ^= 0xE0
    (tmp_path / "a.pcd").write_bytes(whole)
    refuse(tmp_path / "a.pcd", "auto", ["do not unpack: damaged"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FIELDS": "x y z rgb normal t"}, "add or rename intensity"),
        ({"SIZE": ""}, "without SIZE"),
        ({"SIZE": "4 4 8"}, "contradicts itself"),
        ({"TYPE": "F F F Q F I"}, "contradicts itself"),
        ({"POINTS": "-1"}, "found POINTS -1"),
        ({"POINTS": "900000000000000"}, "truncated"),
        ({"VIEWPOINT": "0 1.5 0 1 0 0 0"}, "found the sensor at VIEWPOINT 0 1.5 0"),
    ],
)
def test_a_wrong_pcd_header_is_told(tmp_path, sweep, changes, words):
    rows = records(sweep)
    (tmp_path / "a.pcd").write_bytes(header(rows, "binary", **changes) + rows.tobytes())
    refuse(tmp_path / "a.pcd", "auto", ["a.pcd read as pcd", words])


def test_an_absurd_number_of_compressed_points_is_refused_before_it_is_allocated(tmp_path, sweep):
    data = pcd_bytes(records(sweep), "binary_compressed")
    (tmp_path / "a.pcd").write_bytes(data.replace(b"POINTS 500", b"POINTS 900000000000000"))
    refuse(tmp_path / "a.pcd", "auto", ["POINTS 900000000000000", "truncated or damaged"])
    count = (2**32 - 1) // FIELDS.itemsize
    sizes = np.array([len(data), count * FIELDS.itemsize], "<u4").tobytes()
    (tmp_path / "a.pcd").write_bytes(header([], "binary_compressed", POINTS=str(count)) + sizes + data)
    refuse(tmp_path / "a.pcd", "auto", [f"POINTS {count}", "truncated or damaged"])


def test_the_longest_copies_unpack():
    plain = np.zeros(1 + 264 * 50, np.uint8)
    packed = np.frombuffer(squeeze(plain.tobytes()), np.uint8)
    out = np.ones_like(plain)
    assert pcd.unpack(packed, out) == len(plain)
    assert not out.any()
    assert len(plain) <= pcd.GROWTH * len(packed)


@pytest.mark.parametrize("kind", ["<i4", "<u2", "<f2"])
def test_coordinates_that_are_whole_or_coarse_are_refused(tmp_path, sweep, kind):
    rows = records(sweep).astype([(name, kind if name == "y" else FIELDS[name]) for name in FIELDS.names])
    kind = np.dtype(kind)
    said = {"SIZE": f"4 {kind.itemsize} 8 4 4 2", "TYPE": f"F {kind.kind.upper()} F F F I"}
    (tmp_path / "a.pcd").write_bytes(header(rows, "binary", **said) + rows.tobytes())
    refuse(tmp_path / "a.pcd", "auto", [f"found y of type {kind}, expected TYPE F of SIZE 4 or 8", "export"])


@pytest.mark.parametrize(("kind", "top"), [("<u1", 255), ("<i1", 127), ("<i4", 255)])
def test_whole_intensities_come_out_as_float32_and_go_back_rounded(tmp_path, sweep, kind, top):
    rows = records(sweep).astype([(name, kind if name == "intensity" else FIELDS[name]) for name in FIELDS.names])
    rows["intensity"] = np.arange(len(rows)) % 100
    kind = np.dtype(kind)
    said = {"SIZE": f"4 4 8 {kind.itemsize} 4 2", "TYPE": f"F F F {kind.kind.upper()} F I"}
    (tmp_path / "a.pcd").write_bytes(header(rows, "binary", **said) + rows.tobytes())
    read = read_sweep(tmp_path / "a.pcd")
    assert read.intensity.dtype == np.float32
    faded = np.float32([0.4, 7.6, 255.0])
    back = with_points(read, np.arange(3), read.points[:3], faded)
    np.testing.assert_array_equal(back.rows["intensity"], [0, 8, top])


def test_an_unknown_kind_of_pcd_data_and_other_intensities_are_refused(tmp_path, sweep):
    rows = records(sweep)
    (tmp_path / "a.pcd").write_bytes(header(rows, "zip") + rows.tobytes())
    refuse(tmp_path / "a.pcd", "auto", ["DATA zip", "ascii, binary, binary_compressed"])
    rows["intensity"] *= 60_000
    (tmp_path / "a.pcd").write_bytes(header(rows, "binary") + rows.tobytes())
    refuse(tmp_path / "a.pcd", "auto", ["expected 0-1 or 0-255: rescale"])


@pytest.mark.parametrize("name", REAL)
def test_a_real_sweep_is_written_as_it_was_read(tmp_path, name):
    write_sweep(read_sweep(real(name)), tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == real(name).read_bytes()
    with pytest.raises(UserError, match="never overwritten"):
        write_sweep(read_sweep(real(name)), tmp_path / "b.bin")
