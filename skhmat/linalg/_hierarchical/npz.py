"""Uncompressed .npz archives, written in pieces and read by mapping.

`numpy.savez` wants every array whole in memory and `numpy.load` ignores `mmap_mode` for archives.
Here arrays are written piece by piece, each aligned in the file, so that they can be mapped where
they lie.
"""

import io
import math
import mmap
import struct
import tokenize
import zipfile
from contextlib import contextmanager

import numpy as np

# Arrays begin at multiples of this in the file: a cache line, and more than any dtype needs.
_ALIGNMENT = 64
# The header of a file inside a zip archive, before its name and extra fields.
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
# Bytes of the extra field that holds the sizes of a file in 64 bits.
_ZIP64_EXTRA = 20
# An extra field that readers skip, because its number is not an assigned one.
_PADDING_ID = 0x4853
# Longer than any header this format needs, shorter than what NumPy refuses to parse.
_MAX_NPY_HEADER = 4096
# Bytes that are written or read at once.
_PIECE_BYTES = 1 << 24


class NpzWriter:
    """Writes arrays one after the other; a context manager.

    Parameters
    ----------
    file : binary file object
        New, writable and seekable.
    """

    def __init__(self, file):
        self._file = file
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._archive.close()

    def write(self, name, array):
        """Write a whole array."""
        self.write_pieces(name, array.shape, array.dtype, [lambda: array])

    def write_pieces(self, name, shape, dtype, pieces):
        """Write an array from functions that compute consecutive pieces in C order."""
        info = zipfile.ZipInfo(name + ".npy")
        info.extra = _padding(self._file.tell() + len(info.filename))
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": False,
            "shape": tuple(int(side) for side in shape),
        }
        missing = math.prod(header["shape"])
        with self._archive.open(info, "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for compute in pieces:
                piece = compute()
                missing -= piece.size
                _write_bytes(stream, np.ascontiguousarray(piece, dtype=dtype))
        if missing:
            raise RuntimeError(f"array {name!r} of shape {shape} misses {missing} entries")


def _padding(position):
    """Return the extra field after which data begin aligned, if the header starts at `position`."""
    used = position + _LOCAL_HEADER.size + _ZIP64_EXTRA + 4
    size = -used % _ALIGNMENT
    return struct.pack("<HH", _PADDING_ID, size) + bytes(size)


def _write_bytes(stream, array):
    data = memoryview(array.reshape(-1).view(np.uint8))
    for start in range(0, len(data), _PIECE_BYTES):
        stream.write(data[start : start + _PIECE_BYTES])


class NpzReader:
    """Reads arrays by name from a file that may be damaged; a context manager.

    Any damage that is found raises ValueError: a file that is no archive or is truncated, or an
    array that is missing, is longer or shorter than its header says, or fails its checksum (which
    is not computed for mapped arrays).

    Parameters
    ----------
    path : str or path-like
    mapped : bool
        Whether `map` maps; otherwise it reads.
    """

    def __init__(self, path, mapped):
        self._file = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
        self._buffer = None
        try:
            with _damage_as_value_error():
                self._archive = zipfile.ZipFile(self._file)
                self._members = {info.filename: info for info in self._archive.infolist()}
            if mapped:
                self._buffer = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        # Mapped arrays keep the mapping alive; it does not need the file.
        self._archive.close()
        self._file.close()

    def __contains__(self, name):
        return name + ".npy" in self._members

    def read(self, name):
        """Return the array of that name, of which the checksum is right."""
        with self._member(name) as info:
            return self._read(info)

    def map(self, name):
        """Return the array as a read-only map, its checksum unknown, or read it if not `mapped`.

        Another program may change the file at any time, so what was checked of a mapped array can
        be wrong later: nothing may depend on its values but numbers.
        """
        with self._member(name) as info:
            return self._read(info) if self._buffer is None else self._map(info)

    @contextmanager
    def _member(self, name):
        """Yield the entry of an array in the table of contents; damage becomes ValueError."""
        if name not in self:
            raise ValueError(f"array {name!r} is missing")
        info = self._members[name + ".npy"]
        with _damage_as_value_error(f"array {name!r}: "):
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise ValueError("it is compressed")
            yield info

    def _read(self, info):
        with self._archive.open(info) as stream:
            shape, dtype = _npy_header(stream, info.file_size)
            array = np.empty(shape, dtype=dtype)
            data = memoryview(array.reshape(-1).view(np.uint8))
            done = 0
            while done < len(data):
                count = stream.readinto(data[done : done + _PIECE_BYTES])
                if not count:
                    raise ValueError("it is cut off")
                done += count
            # Reading to the very end is what makes zipfile compare the checksum.
            stream.read(1)
        return array

    def _map(self, info):
        start = self._data_start(info)
        head = io.BytesIO(self._buffer[start : start + min(info.file_size, _MAX_NPY_HEADER)])
        shape, dtype = _npy_header(head, info.file_size)
        array = np.ndarray(shape, dtype, self._buffer, start + head.tell())
        # Another program may have repacked the archive without our alignment.
        return array if array.flags.aligned else array.copy()

    def _data_start(self, info):
        """Return where the bytes of a member begin, behind its local header."""
        head = self._buffer[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
        signature, *_, name_length, extra_length = _LOCAL_HEADER.unpack(head)
        start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        if signature != b"PK\x03\x04" or start + info.file_size > len(self._buffer):
            raise ValueError("it does not lie where the table of contents says")
        return start


# What zipfile and NumPy's header parser raise on malformed bytes.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    UserWarning,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


@contextmanager
def _damage_as_value_error(prefix=""):
    """Turn any exception that a damaged archive causes into ValueError."""
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(f"{prefix}{error}") from error


def _npy_header(stream, size):
    """Read an array's header; return shape and dtype if what follows has the size they imply."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"its header has version {version}, allowed is (1, 0)")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "iuf" or not dtype.isnative or (fortran_order and len(shape) > 1):
        raise ValueError(f"it holds {dtype!r}, allowed are native numbers in C order")
    expected = math.prod(shape) * dtype.itemsize
    found = size - stream.tell()
    if min(shape, default=1) < 0 or expected != found:
        raise ValueError(f"it has {found} bytes, shape {shape} and {dtype} need {expected}")
    return shape, dtype
