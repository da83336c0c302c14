"""Sets of far rows of a node, from which the sample for its basis is drawn.

A set is a mark on its rows, in an array over all rows. The mark is the number of the operation that
set it, so that the array is never cleared; each thread has its own `Marks`.
"""

import numpy as np

cimport cython
from libc.stdint cimport uint64_t


cdef class Marks:
    """Work space of one thread: for each row a mark, and its place in the set being built."""

    cdef int[::1] mark, slot
    cdef int current

    def __init__(self, n):
        self.mark = np.zeros(n, dtype=np.int32)
        self.slot = np.empty(n, dtype=np.int32)
        self.current = 0


# Looking for None takes the interpreter lock, even in the build that checks everything else.
@cython.nonecheck(False)
cdef class FarRows:
    """The far rows of a node that may be read.

    Parameters
    ----------
    leaf_of : (n,), leaf of each row
    allowed : (n,), 0 for rows that must not be read
    near : (nodes of the level,), 1 for nodes near this one
    shift : number of levels between this node and the leaves
    n_rows : number of far rows, including those that must not be read
    n_readable : number of far rows that may be read
    marks : work space, which no other thread uses
    """

    cdef const int[::1] leaf_of
    cdef const unsigned char[::1] allowed, near
    cdef int shift
    cdef readonly Py_ssize_t n_rows, n_readable
    cdef Marks marks

    def __init__(self, leaf_of, allowed, near, shift, n_rows, n_readable, marks):
        self.leaf_of = leaf_of
        self.allowed = allowed
        self.near = near
        self.shift = shift
        self.n_rows = n_rows
        self.n_readable = n_readable
        self.marks = marks

    cdef inline bint _contains(self, Py_ssize_t row) noexcept nogil:
        return self.allowed[row] and not self.near[self.leaf_of[row] >> self.shift]

    def all(self):
        """Return all far rows that may be read."""
        cdef Py_ssize_t[::1] rows = np.empty(self.leaf_of.shape[0], dtype=np.intp)
        cdef Py_ssize_t row, count = 0
        with nogil:
            for row in range(self.leaf_of.shape[0]):
                if self._contains(row):
                    rows[count] = row
                    count += 1
        return np.asarray(rows)[:count]

    def named_by(self, const int[:, ::1] lists):
        """Return the far rows that appear in neighbour lists.

        Returns
        -------
        rows : (m,)
        position : (m,), the smallest position of the row in any list
        votes : (m,), number of lists that contain the row
        """
        cdef Py_ssize_t i, p, count = 0, size = min(lists.size, self.leaf_of.shape[0])
        rows, position, votes = _empty_votes(size)
        cdef Py_ssize_t[::1] r = rows
        cdef int[::1] at = position, v = votes
        with nogil:
            self.marks.current += 1
            for i in range(lists.shape[0]):
                for p in range(lists.shape[1]):
                    self._vote(lists[i, p], <int> p, 1, r, at, v, &count)
        return rows[:count], position[:count], votes[:count]

    def joined(self, const Py_ssize_t[::1] rows, const int[::1] position, const int[::1] votes):
        """Merge results of `named_by` for other nodes, and return the far rows in the same form."""
        cdef Py_ssize_t i, count = 0
        once, foremost, total = _empty_votes(rows.shape[0])
        cdef Py_ssize_t[::1] r = once
        cdef int[::1] at = foremost, v = total
        with nogil:
            self.marks.current += 1
            for i in range(rows.shape[0]):
                self._vote(rows[i], position[i], votes[i], r, at, v, &count)
        return once[:count], foremost[:count], total[:count]

    cdef inline void _vote(
        self, Py_ssize_t row, int position, int votes,
        Py_ssize_t[::1] rows, int[::1] foremost, int[::1] total, Py_ssize_t* count,
    ) noexcept nogil:
        cdef int slot
        if self.marks.mark[row] != self.marks.current:
            if not self._contains(row):
                return
            slot = <int> count[0]
            self.marks.mark[row] = self.marks.current
            self.marks.slot[row] = slot
            rows[slot], foremost[slot], total[slot] = row, position, votes
            count[0] += 1
        else:
            slot = self.marks.slot[row]
            foremost[slot] = min(foremost[slot], position)
            total[slot] += votes

    def beyond(
        self, const int[:, ::1] neighbors, const Py_ssize_t[::1] frontier,
        const Py_ssize_t[::1] waiting, const Py_ssize_t[::1] seen,
    ):
        """Return `waiting` and the far neighbours of `frontier`, without duplicates and `seen`."""
        cdef Py_ssize_t i, p, row, count = 0
        cdef Py_ssize_t size = waiting.shape[0] + frontier.shape[0] * neighbors.shape[1]
        cdef Py_ssize_t[::1] out = np.empty(min(size, self.leaf_of.shape[0]), dtype=np.intp)
        with nogil:
            self._mark(seen)
            for i in range(waiting.shape[0]):
                self._take(waiting[i], out, &count)
            for i in range(frontier.shape[0]):
                for p in range(neighbors.shape[1]):
                    row = neighbors[frontier[i], p]
                    if self._contains(row):
                        self._take(row, out, &count)
        return np.asarray(out)[:count]

    def draw(self, Py_ssize_t n_rows, const Py_ssize_t[::1] exclude, uint64_t seed):
        """Draw far rows uniformly without replacement, or return all if there are fewer."""
        cdef Py_ssize_t i, j, row, count = 0, left, n = self.leaf_of.shape[0]
        cdef Py_ssize_t[::1] out
        # Rejection is fast only while most draws are accepted.
        if 2 * (n_rows + exclude.shape[0]) < self.n_readable and 8 * self.n_readable > n:
            out = np.empty(n_rows, dtype=np.intp)
            with nogil:
                self._mark(exclude)
                while count < n_rows:
                    row = <Py_ssize_t> (_next(&seed) % <uint64_t> n)
                    if self._contains(row):
                        self._take(row, out, &count)
            return np.asarray(out)
        out = self.all()
        with nogil:
            self._mark(exclude)
            left = 0
            for i in range(out.shape[0]):
                if self.marks.mark[out[i]] != self.marks.current:
                    out[left] = out[i]
                    left += 1
            count = min(n_rows, left)
            for i in range(count):
                j = i + <Py_ssize_t> (_next(&seed) % <uint64_t> (left - i))
                out[i], out[j] = out[j], out[i]
        return np.asarray(out)[:count].copy()

    cdef inline void _mark(self, const Py_ssize_t[::1] rows) noexcept nogil:
        cdef Py_ssize_t i
        self.marks.current += 1
        for i in range(rows.shape[0]):
            self.marks.mark[rows[i]] = self.marks.current

    cdef inline void _take(
        self, Py_ssize_t row, Py_ssize_t[::1] out, Py_ssize_t* count
    ) noexcept nogil:
        if self.marks.mark[row] != self.marks.current:
            self.marks.mark[row] = self.marks.current
            out[count[0]] = row
            count[0] += 1


def _empty_votes(size):
    return np.empty(size, np.intp), np.empty(size, np.int32), np.empty(size, np.int32)


cdef inline uint64_t _next(uint64_t* state) noexcept nogil:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    cdef uint64_t z
    state[0] += <uint64_t> 0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
    return z ^ (z >> 31)
