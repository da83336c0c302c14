import json
import math
import os
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skhmat.linalg import HierarchicalMatrix, KernelMatrix, load
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import CallableSource, as_source
from skhmat.linalg._hierarchical.form import exact_form
from skhmat.linalg._hierarchical.npz import NpzWriter
from skhmat.linalg._hierarchical.report import CompressionReport

from .problems import make_compressed, make_kernel, without_near_blocks

# The arrays of a structure, written out because files that exist have these names.
ARRAYS = [
    "permutation",
    "leaf_bounds",
    "rank",
    "skel_ptr",
    "order_ptr",
    "order",
    "interp_ptr",
    "interp",
    "far_ptr",
    "far_node",
    "far_offset",
    "far_transposed",
    "far",
    "near_ptr",
    "near_leaf",
    "near_offset",
    "near_transposed",
    "near",
]


@pytest.fixture(scope="module")
def H():
    return make_compressed(budget=0.2)


@pytest.fixture
def saved(H, tmp_path):
    path = tmp_path / "H.npz"
    H.save(path)
    return path


def right_hand_sides(H, seed=0):
    return np.random.default_rng(seed).standard_normal((H.shape[0], 3)).astype(H.dtype)


def assert_same(actual, H):
    W = right_hand_sides(H)
    np.testing.assert_array_equal(actual @ W, H @ W)
    np.testing.assert_array_equal(actual.diagonal(), H.diagonal())
    assert actual.dtype == H.dtype
    assert actual.nbytes == H.nbytes
    assert actual.error_estimate_ == H.error_estimate_
    assert actual.report_.seconds == H.report_.seconds


# ---- save and load


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("budget", [0.0, 0.2])
def test_round_trip(tmp_path, budget, dtype, mmap_mode):
    H = make_compressed(budget, dtype)
    H.save(tmp_path / "H")
    assert os.listdir(tmp_path) == ["H"]
    assert_same(HierarchicalMatrix.load(tmp_path / "H", mmap_mode), H)


def test_file_is_an_ordinary_npz_without_pickles(H, saved):
    with np.load(saved, allow_pickle=False) as npz:
        assert set(npz.files) == {"header", *ARRAYS}
        np.testing.assert_array_equal(npz["near"], H.form.structure.near)
        header = json.loads(npz["header"].tobytes())
    assert header["format"] == "skhmat.HierarchicalMatrix"
    assert header["version"] == 4


def test_mapped_arrays_lie_aligned_in_the_file(saved):
    """Those of numbers; indices are copies, which no other program can change."""
    structure = load(saved, "r").form.structure
    for name, array in vars(structure).items():
        if name not in ("interp", "far", "near"):
            assert array.base is None, name
            continue
        assert not array.flags.owndata, name
        assert not array.flags.writeable, name
        assert array.ctypes.data % 64 == 0, name


def test_mapped_matrix_outlives_its_file(H, saved):
    mapped = load(saved, "r")
    saved.unlink()
    assert_same(mapped, H)
    assert_same(mapped.copy(), H)


def test_file_that_is_overwritten_while_it_is_mapped(H, saved):
    """Products are wrong then, but read no entry out of bounds."""
    mapped = load(saved, "r")
    with open(saved, "r+b") as file:
        file.write(b"?" * saved.stat().st_size)
    assert (mapped @ right_hand_sides(H)).shape == (H.shape[0], 3)
    assert mapped.diagonal().shape == (H.shape[0],)


def test_loaded_matrix_can_be_saved_again(H, saved):
    first = saved.read_bytes()
    load(saved, "r").save(saved)
    assert saved.read_bytes() == first


def test_near_blocks_are_computed_while_saving(H, tmp_path, monkeypatch):
    monkeypatch.setattr("skhmat.linalg._hierarchical.file._BATCH_ENTRIES", 5000)
    lean = without_near_blocks(H, make_kernel())
    lean.save(tmp_path / "lean.npz")
    loaded = load(tmp_path / "lean.npz")
    np.testing.assert_array_equal(loaded.form.structure.near, H.form.structure.near)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_dense_array(tmp_path, mmap_mode):
    K = np.asfortranarray(np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32))
    H = HierarchicalMatrix(
        exact_form(Entries(as_source(K)), CompressionReport(reason_dense="too small"), None)
    )
    H.save(tmp_path / "H")
    loaded = load(tmp_path / "H", mmap_mode)
    np.testing.assert_array_equal(loaded.form.exact.array, K)
    assert loaded.is_dense
    assert loaded.dtype == np.float32
    assert loaded.report_.reason_dense == "too small"


@pytest.mark.parametrize(
    "parameters",
    [
        {"kernel": "gaussian", "bandwidth": 0.3},
        {"kernel": "rational_quadratic", "bandwidth": np.float32(2), "alpha": 1.5},
        {"kernel": "polynomial", "degree": 2, "coef0": 0.5, "gamma": 0.1},
        {"kernel": "matern32", "bandwidth": np.array([0.1, 3.0, 1 / 7])},
    ],
)
def test_dense_kernel_with_a_name_is_saved_as_points(tmp_path, parameters):
    K = KernelMatrix(np.random.default_rng(0).standard_normal((300, 3)), **parameters)
    HierarchicalMatrix(exact_form(Entries(K), CompressionReport(), None)).save(tmp_path / "H")
    assert (tmp_path / "H").stat().st_size < K.points.nbytes + 4096
    loaded = load(tmp_path / "H")
    np.testing.assert_array_equal(loaded.form.exact.toarray(), K.toarray())
    np.testing.assert_array_equal(loaded.form.exact.bandwidth, K.bandwidth)


def test_dense_callable_kernel_is_saved_as_entries(tmp_path):
    X = np.random.default_rng(0).standard_normal((30, 2))
    K = KernelMatrix(X, kernel=lambda A, B: 1 + A @ B.T)
    HierarchicalMatrix(exact_form(Entries(K), CompressionReport(), None)).save(tmp_path / "H")
    np.testing.assert_array_equal(load(tmp_path / "H").form.exact.array, K.toarray())


def test_report_survives_whatever_is_in_it(H, tmp_path):
    H = H.copy()
    H.report_.parameters.update(
        a=np.float32(0.5), b=np.arange(2), c=np.random.RandomState(0), d=None, e="auto"
    )
    H.save(tmp_path / "H")
    parameters = load(tmp_path / "H").report_.parameters
    assert (parameters["a"], parameters["b"], parameters["d"]) == (0.5, [0, 1], None)
    assert parameters["c"].startswith("RandomState")


def test_failed_save_leaves_the_old_file_alone(H, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("skhmat.linalg._hierarchical.file._write_structure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        H.save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_load_refuses_mmap_mode(saved):
    with pytest.raises(ValueError, match="mmap_mode must be one of 'r', None, got 'w'"):
        load(saved, "w")


# ---- foreign and damaged files


def write_text(path):
    path.write_text("not a matrix")


def write_empty(path):
    path.write_bytes(b"")


def write_npy(path):
    with open(path, "wb") as file:
        np.save(file, np.eye(3))


def write_npz(path):
    with open(path, "wb") as file:
        np.savez(file, near=np.eye(3))


def write_npz_with_header(path):
    with open(path, "wb") as file:
        np.savez(file, header=np.frombuffer(b'{"format": "other"}', dtype=np.uint8))


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize(
    "write", [write_text, write_empty, write_npy, write_npz, write_npz_with_header]
)
def test_foreign_files_are_refused(tmp_path, write, mmap_mode):
    path = tmp_path / "H.npz"
    write(path)
    with pytest.raises(ValueError, match=r"H\.npz.*HierarchicalMatrix"):
        load(path, mmap_mode)


def rewritten(path, header=None, text=None, **arrays):
    """Write the file again with some arrays changed, or left out if None."""
    with np.load(path) as npz:
        content = {name: npz[name] for name in npz.files} | arrays
    if header is not None:
        changed = json.loads(content["header"].tobytes()) | header
        content["header"] = np.frombuffer(json.dumps(changed).encode(), dtype=np.uint8)
    if text is not None:
        content["header"] = np.frombuffer(text, dtype=np.uint8)
    with open(path, "wb") as file, NpzWriter(file) as npz:
        for name, array in content.items():
            if array is not None:
                npz.write(name, array)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_files_of_the_first_version_are_read(H, saved, mmap_mode):
    """These files also held the positions of the skeletons, which nothing read."""
    n_skeletons = H.form.structure.skel_ptr[-1]
    rewritten(saved, {"version": 1}, skeletons=np.arange(n_skeletons))
    assert_same(load(saved, mmap_mode), H)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 5}, "format version 5, this skhmat reads up to 4"),
        ({"version": "1"}, "format version '1'"),
        ({"version": 0}, "format version 0"),
        ({"version": True}, "format version True"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"dtype": "float32"}, "dtype float64, allowed is float32"),
        ({"n": 601}, "'permutation' has 600 entries, not 601"),
        ({"n": 1.5}, "n is 1.5"),
        ({"n": True}, "n is True"),
        ({"form": "new"}, "form is 'new'"),
        ({"form": "array"}, "'exact' is missing"),
        ({"form": "kernel"}, "parameters of the kernel are missing"),
        ({"report": 3}, "report is 3"),
        ({"report": {}}, "no valid scale"),
        ({"report": {"parameters": {"scale": 0}}}, "no valid scale"),
        ({"report": {"parameters": {"scale": 1.0}}}, "report: seconds is None"),
    ],
)
def test_changed_header_is_refused(saved, header, message, mmap_mode):
    rewritten(saved, header)
    with pytest.raises(ValueError, match=message):
        load(saved, mmap_mode)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("seconds", [None, {"tree": "1"}]),
        ("n_read", [None, 1.5, True, 10**400]),
        ("error", [None, "1e-3", True, 10**400]),
        ("rtol", [None, [1e-3]]),
        ("parameters", [None, {}, *({"scale": s} for s in (3.0, 1, math.inf, math.nan, 10**400))]),
        ("reason_dense", [None, 1]),
    ],
)
def test_changed_report_is_refused(saved, field, values):
    report = json.loads(np.load(saved)["header"].tobytes())["report"]
    for value in values:
        rewritten(saved, {"report": report | {field: value}})
        with pytest.raises(ValueError, match=r"its header is damaged: .*report"):
            load(saved)


def test_scale_that_the_dtype_cannot_hold_is_refused(tmp_path):
    make_compressed(dtype=np.float32).save(tmp_path / "H")
    report = json.loads(np.load(tmp_path / "H")["header"].tobytes())["report"]
    report["parameters"]["scale"] = 2.0**200
    rewritten(tmp_path / "H", {"report": report})
    with pytest.raises(ValueError, match="no valid scale"):
        load(tmp_path / "H")


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 100_000, b"\xff", b"{", b"1"])
def test_header_that_is_no_header_is_refused(saved, text, mmap_mode):
    rewritten(saved, text=text)
    with pytest.raises(ValueError, match=r"H\.npz.*HierarchicalMatrix"):
        load(saved, mmap_mode)


@pytest.fixture
def saved_kernel(tmp_path):
    K = KernelMatrix(np.random.default_rng(0).standard_normal((300, 3)), bandwidth=1.25)
    HierarchicalMatrix(exact_form(Entries(K), CompressionReport(), None)).save(tmp_path / "H.npz")
    return tmp_path / "H.npz"


@pytest.mark.parametrize("name", ["kernel", "bandwidth", "alpha", "gamma", "coef0", "degree"])
def test_missing_parameter_of_a_kernel_is_refused(saved_kernel, name):
    """Not replaced by its default, which would be another matrix."""
    kernel = json.loads(np.load(saved_kernel)["header"].tobytes())["kernel"]
    del kernel[name]
    rewritten(saved_kernel, {"kernel": kernel})
    with pytest.raises(ValueError, match="parameters of the kernel are missing"):
        load(saved_kernel)


@pytest.mark.parametrize(
    "bandwidth",
    [
        [1.0, 2.0],
        [[1.0, 2.0, 3.0]],
        [],
        [1.0, 2.0, 0.0],
        [1.0, 2.0, -3.0],
        [1.0, float("nan"), 3.0],
        [1.0, float("inf"), 3.0],
        [1.0, None, 3.0],
        [1.0, True, 3.0],
        ["1", "2", "3"],
        [1, [2], 3],
        [10**400, 1, 1],
        {"0": 1.0},
        "123",
        None,
        0,
    ],
)
def test_damaged_bandwidths_are_refused(saved_kernel, bandwidth):
    kernel = json.loads(np.load(saved_kernel)["header"].tobytes())["kernel"]
    rewritten(saved_kernel, {"kernel": kernel | {"bandwidth": bandwidth}})
    with pytest.raises(ValueError, match=r"cannot be loaded as .* bandwidth(\[\d\])? must be"):
        load(saved_kernel)


@pytest.mark.parametrize("kernel", [None, [], "gaussian", {}])
def test_kernel_that_is_none_is_refused(saved_kernel, kernel):
    rewritten(saved_kernel, {"kernel": kernel})
    with pytest.raises(ValueError, match="parameters of the kernel are missing"):
        load(saved_kernel)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_header_is_checked_when_arrays_are_mapped(saved_kernel, mmap_mode):
    whole = saved_kernel.read_bytes()
    assert whole.count(b'"bandwidth": 1.25') == 1
    saved_kernel.write_bytes(whole.replace(b'"bandwidth": 1.25', b'"bandwidth": 3.25'))
    with pytest.raises(ValueError, match=r"'header'.*CRC"):
        load(saved_kernel, mmap_mode)


@pytest.mark.parametrize("name", ARRAYS)
def test_missing_array_is_refused(saved, name):
    rewritten(saved, **{name: None})
    with pytest.raises(ValueError, match=f"array '{name}' is missing"):
        load(saved)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("name", ARRAYS)
def test_shorter_or_wrong_array_is_refused(saved, H, name, mmap_mode):
    array = getattr(H.form.structure, name)
    wrong = [array[:-1], array.reshape(1, -1), array.astype(np.int16)]
    for bad in wrong:
        rewritten(saved, **{name: bad})
        with pytest.raises(ValueError, match=r"H\.npz"):
            load(saved, mmap_mode)


@given(fraction=st.floats(0, 1, exclude_max=True), mmap_mode=st.sampled_from([None, "r"]))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
def test_truncated_file_is_refused(saved, fraction, mmap_mode):
    whole = saved.read_bytes()
    cut = saved.with_name("cut.npz")
    cut.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.npz"):
        load(cut, mmap_mode)


@given(data=st.data(), mmap_mode=st.sampled_from([None, "r"]))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
def test_flipped_bytes_are_found_or_harmless(saved, H, data, mmap_mode):
    whole = bytearray(saved.read_bytes())
    # Damage could mislead in headers and in the directory; most bytes between them are data.
    with zipfile.ZipFile(saved) as archive:
        starts = [info.header_offset for info in archive.infolist()] + [archive.start_dir]
    place = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 300))
    whole[min(place, len(whole) - 1)] ^= data.draw(st.integers(1, 255))
    bad = saved.with_name("bad.npz")
    bad.write_bytes(whole)
    try:
        loaded = load(bad, mmap_mode)
    except ValueError:
        return
    if mmap_mode is None:
        assert_same(loaded, H)
    else:
        # Checksums of numbers are not compared; what matters is that a product does not crash.
        assert (loaded @ right_hand_sides(H)).shape == (H.shape[0], 3)


def test_changed_data_fail_their_checksum(saved):
    with zipfile.ZipFile(saved) as archive:
        info = archive.getinfo("near.npy")
    whole = bytearray(saved.read_bytes())
    whole[info.header_offset + info.file_size // 2] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(ValueError, match=r"'near'.*CRC"):
        load(saved)


def test_compressed_archive_is_refused(H, tmp_path):
    H.save(tmp_path / "a")
    with np.load(tmp_path / "a") as npz, open(tmp_path / "b", "wb") as file:
        np.savez_compressed(file, **{name: npz[name] for name in npz.files})
    with pytest.raises(ValueError, match="compressed"):
        load(tmp_path / "b")


def test_archive_packed_anew_by_numpy_can_be_mapped(H, saved):
    with np.load(saved) as npz:
        content = {name: npz[name] for name in npz.files}
    with open(saved, "wb") as file:
        np.savez(file, **content)
    for mmap_mode in (None, "r"):
        assert_same(load(saved, mmap_mode), H)


def test_objects_are_never_unpickled(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.savez(file, header=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="header"):
        load(tmp_path / "a.npz")


def test_what_a_function_raises_while_saving_reaches_the_caller(H, tmp_path):
    class End(StopIteration):
        pass

    def entries(rows, cols):
        raise End

    lean = without_near_blocks(H, CallableSource(entries, H.shape, H.dtype))
    with pytest.raises(End):
        lean.save(tmp_path / "H")
    assert list(tmp_path.iterdir()) == []
