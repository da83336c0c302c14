"""The bandwidth of a kernel: given, or chosen for the samples by one of two rules.

`longest_links` ("auto") takes the smallest scale at which the samples hang together. The shortest
links that connect them all form a minimum spanning tree; on the scale of its longest ones no sample
is cut off, and on any larger scale the kernel is more likely to reach from one layer of a folded
surface to the next. `berry_giannakis_harlim` ("sum") takes the scale at which the sum of the kernel
grows fastest, which on a folded surface may be its extent in space, far beyond the gap.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from ..._utils.validation import parameter_error
from ...linalg._gofmm.distances import GeometricDistance
from ...linalg._gofmm.neighbors import find_neighbors
from .distance_histogram import POLICY as HISTOGRAM_POLICY
from .point_cloud import PointCloud, squared_distances

# Lengths that are equal up to rounding.
_EQUAL = 1 + 1e-9


@dataclass(frozen=True)
class BandwidthPolicy:
    """How the samples are linked, and which kernels take a short cut."""

    # Neighbours of each sample among which the links are looked for.
    n_neighbors: int = 15
    # Longest links whose root mean square is the scale: one alone would depend on a single sample,
    # and more would be shorter than what holds the samples together.
    n_longest: int = 3
    # The scale, in standard deviations of the kernel, whose value there is exp(-4.5). Less takes
    # short cuts with 500 samples of a swiss roll, more leaves samples at its edges alone.
    deviations: float = 3.0
    # Factors of the scale, the first that takes no short cuts is used: a wider kernel has more
    # samples in each mean. Twice the scale brings eigenvalues of the Laplacian from half to nine
    # tenths of the true ones in about the same time, and more takes longer.
    wider: tuple = (2.0, 1.4)
    # `max_short_cuts` of a wider kernel: few samples of a spiral show too little of them,
    max_short_cuts_if_wider: float = 0.01
    # and `max_reached`.
    max_reached_if_wider: float = 0.1
    # Features up to which a k-d tree finds the neighbours; with more, random projection trees do.
    max_tree_features: int = 15
    # Seed of these trees: the bandwidth must not depend on that of the estimator.
    seed: int = 0
    # Samples from which short cuts are looked for.
    n_sources: int = 64
    # Value of the kernel: what is below has no weight.
    least_kernel: float = 1e-4
    # Paths are followed for this many times the distance at which the kernel has that value.
    path_reach: float = 5.0
    # Steps of a path are at most this many times as long as the longest link at one of their ends,
    longest_step: float = 3.0
    # and this many times as long as the scale.
    longest_path_step: float = 1.8
    # A pair of samples is a short cut if the path is longer than the distance by this factor.
    detour: float = 3.0
    # Squared lengths of the paths of short cuts, weighted by the kernel, relative to those of all
    # distances: with more, short cuts fold up the coordinates, whose differences are as the paths.
    # It is below 0.02 on thirty surfaces that are unrolled, and above 0.04 with outliers.
    max_short_cuts: float = 0.03
    # Part of all samples within the kernel of one: with more, it does not tell them apart.
    max_reached: float = 0.6
    # Links between parts that are apart are longer than all within them by at least this factor.
    gap: float = 3.0
    # Parts up to which the links between them are found one by one; samples in more of them, as
    # copies with small errors are, count as one sample for each part.
    max_parts: int = 20


POLICY = BandwidthPolicy()


@dataclass(frozen=True, eq=False)
class Links:
    """The links that join the samples, and what a kernel as wide as the longest of them does.

    Attributes
    ----------
    lengths : ndarray of shape (n_links,)
        Lengths of the links of a minimum spanning tree, ascending; copies of a sample are left out.
    scale : float
        Root mean square of the longest links, of those within the parts only if `n_parts` is not 1.
    short_cuts : float
        Mean squared length of paths between samples that the kernel joins though they are far apart
        along the links, relative to the mean squared distance of all that it joins.
    reached : float
        Mean of the kernel.
    factor : float
        Of the scale, by which it is wider than it must be.
    n_parts : int
        Parts that are apart, and between which the kernel vanishes: those that a kernel wide enough
        to join them would fold up.
    """

    lengths: np.ndarray
    scale: float
    short_cuts: float
    reached: float
    factor: float = 1.0
    n_parts: int = 1

    def describe(self):
        """Describe in a few words what was looked at."""
        text = (
            f"the longest of {len(self.lengths):,} links between samples are "
            f"{self.scale:.3g}, half are below {np.median(self.lengths):.3g}"
        )
        if self.n_parts > 1:
            gap = self.lengths[1 - self.n_parts]
            text += f"; {self.n_parts} parts are at least {gap:.3g} apart"
        wider = f"; {self.factor:g} times as wide as it must be" if self.factor > 1 else ""
        return f"{text}; short cuts {self.short_cuts:.1%}{wider}"

    def fits(self, policy):
        """Return whether the kernel tells samples apart and takes no short cuts."""
        return self.short_cuts <= policy.max_short_cuts and self.reached <= policy.max_reached


@dataclass(frozen=True, eq=False)
class Bandwidth:
    """The bandwidth of a kernel, and where it comes from.

    Attributes
    ----------
    epsilon : float
    dimension : float or None
        Estimate of the dimension of the manifold; None for a bandwidth that was given.
    curve : (ndarray of shape (n_tried,), ndarray of shape (n_tried,)) or None
        Bandwidths that were tried, and `DistanceHistogram.slope` of each; only for the rule "sum".
    links : Links or None
        Only for the rule "auto".
    trouble : str or None
        Why the bandwidth does not fit all samples, as a sentence; None where it does.
    """

    epsilon: float
    dimension: float | None = None
    curve: tuple | None = None
    links: Links | None = None
    trouble: str | None = None


def choose_bandwidth(
    epsilon,
    space,
    histogram,
    policy=POLICY,
    histogram_policy=HISTOGRAM_POLICY,
    *,
    is_cut=False,
):
    """Return a bandwidth that is given, or the one that a rule chooses.

    Parameters
    ----------
    epsilon : float, "auto" or "sum"
    space : CloudSpace, DenseSpace or SparseSpace
        The samples; only looked at by the rule "auto".
    histogram : DistanceHistogram
        Of the same samples; only looked at by the rule "sum".
    policy : BandwidthPolicy
    histogram_policy : HistogramPolicy
    is_cut : bool
        Whether the kernel is kept between near neighbours only, so that it takes no short cuts.

    Returns
    -------
    bandwidth : Bandwidth
    """
    if not isinstance(epsilon, str):
        return Bandwidth(float(epsilon))
    if histogram.is_constant:
        raise constant_error(epsilon)
    if epsilon == "sum":
        return berry_giannakis_harlim(histogram, histogram_policy)
    return longest_links(space, policy, is_cut=is_cut)


def constant_error(epsilon):
    """Return the error that a rule has nothing to choose a bandwidth from."""
    allowed = "a number where all distances between samples are 0"
    return parameter_error("epsilon", allowed, epsilon)


def berry_giannakis_harlim(histogram, policy=HISTOGRAM_POLICY):
    """Return the bandwidth at which the sum of the kernel grows fastest.

    On a manifold of dimension m the sum S of all entries grows like epsilon^(m / 2), as long as the
    kernel reaches beyond single points but not across all of them. So twice the largest slope
    d log S / d log epsilon estimates m (Berry, Giannakis and Harlim, Physical Review E 91, 2015).
    """
    epsilons, slopes = histogram.slope_curve(policy)
    best = int(np.argmax(slopes))
    return Bandwidth(float(epsilons[best]), 2 * float(slopes[best]), (epsilons, slopes))


def longest_links(space, policy=POLICY, *, is_cut=False):
    """Return the smallest bandwidth at which the samples hang together.

    Random points in a connected set are connected by links up to the length of the longest one of
    their minimum spanning tree (Penrose, The longest edge of the random minimal spanning tree,
    Annals of Applied Probability 7, 1997). The standard deviation of the kernel is a third of it,
    or up to two thirds where that takes no short cuts.

    Whether such a kernel takes short cuts is measured: pairs of samples that it joins are to be
    near along the links as well, by the paths of Isomap (Tenenbaum, de Silva and Langford, Science
    290, 2000).

    Parameters
    ----------
    space : CloudSpace, DenseSpace or SparseSpace
    policy : BandwidthPolicy
    is_cut : bool
        Whether short cuts are impossible.

    Returns
    -------
    bandwidth : Bandwidth
    """
    graph, dimension = space.neighbor_graph(policy)
    if graph.shape[0] < 2:
        raise constant_error("auto")
    n_parts, labels = csgraph.connected_components(graph, directed=False)
    if n_parts > policy.max_parts and space.can_link:
        space = space.subset(np.unique(labels, return_index=True)[1])
        return longest_links(space, policy, is_cut=is_cut)
    if n_parts > 1 and space.can_link:
        graph = _joined(graph, space, labels, n_parts)
    tree = csgraph.minimum_spanning_tree(graph)
    lengths = np.sort(tree.data)
    if len(lengths) == 0 or not lengths[-1] ** 2 > 0:
        raise constant_error("auto")
    scale = _root_mean_square(lengths[-policy.n_longest :])
    if is_cut:
        links = Links(lengths, scale, 0.0, 0.0, policy.wider[0])
        return Bandwidth(_epsilon(scale * links.factor, policy), dimension, links=links)
    paths = _paths_graph(graph, tree, policy)
    near = _without_longer(paths, policy.longest_path_step * scale)
    links = Links(lengths, scale, *_joined_by_kernel(space, near, scale, policy))
    if links.fits(policy):
        links = _widened(links, space, near, policy)
        return Bandwidth(_epsilon(scale * links.factor, policy), dimension, links=links)
    parts = _links_of_parts(space, paths, lengths, policy)
    if parts is not None:
        trouble = (
            f"the samples fall into {parts.n_parts} parts that are at least "
            f"{lengths[1 - parts.n_parts]:.3g} apart, where links within them are at most "
            f"{lengths[-parts.n_parts]:.3g}; a kernel that joins the parts would fold them up, so "
            "epsilon is the one of the parts."
        )
        return Bandwidth(_epsilon(parts.scale, policy), dimension, links=parts, trouble=trouble)
    trouble = (
        f"no epsilon fits all samples: the longest links between them are {scale:.3g}, half are "
        f"below {np.median(lengths):.3g}, and a kernel that holds them together "
    )
    if links.short_cuts > policy.max_short_cuts:
        trouble += (
            "joins samples that are far apart along the links, by short cuts of "
            f"{links.short_cuts:.1%} (at most {policy.max_short_cuts:.0%} do no harm)."
        )
    else:
        trouble += f"reaches {links.reached:.0%} of all samples from each."
    return Bandwidth(_epsilon(scale, policy), dimension, links=links, trouble=trouble)


def _root_mean_square(lengths):
    largest = lengths.max()
    return float(largest * math.sqrt(np.mean(np.square(lengths / largest))))


def _epsilon(scale, policy):
    return (scale / policy.deviations) ** 2


def _widened(links, space, paths, policy):
    """Return the links with the first of the larger factors that takes no short cuts."""
    for factor in policy.wider:
        measured = _joined_by_kernel(space, paths, links.scale * factor, policy)
        limits = policy.max_short_cuts_if_wider, policy.max_reached_if_wider
        if (np.array(measured) <= limits).all():
            return Links(links.lengths, links.scale, *measured, factor)
    return links


def _links_of_parts(space, paths, lengths, policy):
    """Return the links within parts that are apart, or None where there are no such parts."""
    is_gap = lengths[1:] >= policy.gap * lengths[:-1]
    is_gap[: -policy.max_parts + 1] = False
    for below in np.flatnonzero(is_gap)[::-1]:
        within = lengths[: below + 1]
        scale = _root_mean_square(within[-policy.n_longest :])
        within_parts = _without_longer(paths, policy.longest_path_step * scale)
        measured = _joined_by_kernel(space, within_parts, scale, policy)
        links = Links(lengths, scale, *measured, n_parts=len(lengths) - below)
        if links.fits(policy):
            return links
    return None


def _joined(graph, space, labels, n_parts):
    """Add the shortest links between the parts of a graph, which then is connected.

    In each round every part but the largest is linked to the sample that is nearest to it.
    """
    while n_parts > 1:
        sizes = np.bincount(labels)
        rows, cols, lengths = [], [], []
        for part in np.flatnonzero(np.arange(n_parts) != sizes.argmax()):
            row, col, length = space.shortest_link(labels == part)
            if np.isfinite(length):
                rows, cols, lengths = [*rows, row], [*cols, col], [*lengths, length]
        if not rows:
            return graph
        added = sparse.coo_matrix((lengths, (rows, cols)), shape=graph.shape)
        graph = graph.maximum(added.maximum(added.T)).tocsr()
        n_parts, labels = csgraph.connected_components(graph, directed=False)
    return graph


def _paths_graph(graph, tree, policy):
    """Return the links and those pairs of neighbours that are not much farther apart."""
    links = tree.maximum(tree.T).tocsr()
    longest = links.max(axis=1).toarray().ravel()
    pairs = graph.tocoo()
    limits = policy.longest_step * np.maximum(longest[pairs.row], longest[pairs.col])
    kept = pairs.data <= limits * _EQUAL
    shape = graph.shape
    return sparse.csr_matrix((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), shape=shape)


def _without_longer(graph, length):
    """Return a graph without the pairs that are farther apart than a length."""
    graph = graph.copy()
    graph.data[graph.data > length * _EQUAL] = 0
    graph.eliminate_zeros()
    return graph


def _joined_by_kernel(space, paths, scale, policy):
    """Return `short_cuts` and `reached` of `Links` for a kernel of some scale."""
    epsilon = _epsilon(scale, policy)
    near = math.sqrt(-2 * epsilon * math.log(policy.least_kernel))
    limit = policy.path_reach * near
    n = paths.shape[0]
    sources = np.unique(np.linspace(0, n - 1, policy.n_sources).astype(np.intp))
    total = direct = detours = 0.0
    for source in sources:
        along = csgraph.dijkstra(paths, directed=False, indices=source, limit=limit)
        straight = space.distances_from(source)
        joined = np.flatnonzero(straight <= near)
        joined = joined[joined != source]
        squares = np.square(straight[joined] / near)
        kernel = np.exp(squares * math.log(policy.least_kernel))
        lengths = np.minimum(along[joined], limit) / near
        is_detour = np.square(lengths) > policy.detour**2 * squares
        total += kernel.sum()
        direct += kernel @ squares
        detours += kernel[is_detour] @ np.square(lengths[is_detour])
    reached = total / (len(sources) * (n - 1))
    return float(detours / direct) if direct > 0 else 0.0, float(reached)


def _symmetric_graph(indices, lengths):
    """Return the graph of neighbours, of which each row of two arrays has those of a point."""
    n, k = indices.shape
    start = np.arange(0, n * k + 1, k)
    graph = sparse.csr_matrix((lengths.ravel(), indices.ravel(), start), shape=(n, n))
    return graph.maximum(graph.T).tocsr()


def _dimension(distances):
    """Estimate the dimension of a manifold by distances from nearest neighbours, ascending.

    The likelihood of Levina and Bickel (Advances in Neural Information Processing Systems 17, 2005)
    for all samples together, as MacKay and Ghahramani add them up.
    """
    if distances.shape[1] < 2:
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(distances[:, -1:] / distances[:, :-1])
    mean = logs[np.isfinite(logs).all(axis=1)].sum(axis=1)
    mean = mean.mean() / (distances.shape[1] - 1) if len(mean) else 0.0
    return float(1 / mean) if mean > 0 else math.nan


@dataclass(frozen=True, eq=False)
class CloudSpace:
    """Different points of a cloud, their distances divided by the scales of both ends.

    Attributes
    ----------
    cloud : PointCloud
        The points in lexicographic order, so that nothing depends on the order of the samples.
    n_threads : int
    """

    cloud: PointCloud
    n_threads: int = 1

    can_link: ClassVar = True

    @classmethod
    def from_cloud(cls, cloud, n_threads=1):
        """Take each point of a PointCloud once."""
        order = np.lexsort(cloud.X.T[::-1])
        X = cloud.X[order]
        is_new = np.append(True, (X[1:] != X[:-1]).any(axis=1))
        return cls(cloud[order[is_new]].without_radii(), n_threads)

    def _lengths(self, rows, cols, distances):
        if self.cloud.scales is None:
            return distances
        return distances / np.sqrt(self.cloud.scales[rows] * self.cloud.scales[cols])

    def neighbor_graph(self, policy):
        """Return the graph of nearest neighbours, and an estimate of the dimension."""
        X = self.cloud.X
        n, d = X.shape
        k = min(policy.n_neighbors, n - 1)
        if k == 0:
            return sparse.csr_matrix((n, n)), math.nan
        if d <= policy.max_tree_features:
            tree = cKDTree(X)
            distances, indices = tree.query(X, k + 1, workers=self.n_threads)
            # Where squares underflow, a point need not come first among its own neighbours.
            distances, indices = distances[:, 1:], indices[:, 1:]
        else:
            distance = GeometricDistance(X)
            indices = find_neighbors(distance, n, k, policy.seed, self.n_threads).indices
            differences = (X - X[column] for column in indices.T)
            distances = np.column_stack([np.linalg.norm(D, axis=1) for D in differences])
        dimension = _dimension(np.sort(distances, axis=1))
        lengths = self._lengths(np.arange(n)[:, np.newaxis], indices, distances)
        return _symmetric_graph(indices, lengths), dimension

    def distances_from(self, source):
        """Return the distances of all points from one of them."""
        n = len(self.cloud.X)
        rows, cols = np.array([source]), np.arange(n)
        squares = squared_distances(self.cloud, rows, self.cloud, cols)[0]
        return self._lengths(source, cols, np.sqrt(squares))

    def shortest_link(self, part):
        """Return the shortest link between points of a part and all others: ends and length."""
        inside, outside = np.flatnonzero(part), np.flatnonzero(~part)
        distances, nearest = cKDTree(self.cloud.X[outside]).query(
            self.cloud.X[inside], workers=self.n_threads
        )
        lengths = self._lengths(inside, outside[nearest], distances)
        best = lengths.argmin()
        return inside[best], outside[nearest[best]], lengths[best]

    def subset(self, points):
        """Return the space of some of the points."""
        return CloudSpace(self.cloud[np.sort(points)], self.n_threads)


@dataclass(frozen=True, eq=False)
class DenseSpace:
    """Samples whose distances are all given.

    Attributes
    ----------
    D : ndarray of shape (n, n)
    kept : ndarray of shape (n_kept,)
        The first of all samples that are at the same place.
    """

    D: np.ndarray
    kept: np.ndarray

    can_link: ClassVar = True

    @classmethod
    def from_distances(cls, D):
        """Take each place once."""
        is_new = [not (row[:i] == 0).any() for i, row in enumerate(D)]
        return cls(D, np.flatnonzero(is_new))

    def neighbor_graph(self, policy):
        """Return the graph of nearest neighbours, and an estimate of the dimension."""
        n = len(self.kept)
        k = min(policy.n_neighbors, n - 1)
        indices, lengths = np.empty((n, k), dtype=np.intp), np.empty((n, k))
        for i in range(n if k else 0):
            row = self.distances_from(i)
            row[i] = np.inf
            indices[i] = np.argpartition(row, k - 1)[:k]
            lengths[i] = row[indices[i]]
        if k == 0:
            return sparse.csr_matrix((n, n)), math.nan
        return _symmetric_graph(indices, lengths), _dimension(np.sort(lengths, axis=1))

    def distances_from(self, source):
        """Return the distances of all samples from one of them."""
        return self.D[self.kept[source], self.kept].astype(np.float64)

    def shortest_link(self, part):
        """Return the shortest link between samples of a part and all others."""
        inside, outside = np.flatnonzero(part), np.flatnonzero(~part)
        block = self.D[np.ix_(self.kept[inside], self.kept[outside])]
        i, j = np.unravel_index(block.argmin(), block.shape)
        return inside[i], outside[j], float(block[i, j])

    def subset(self, points):
        """Return the space of some of the samples."""
        return DenseSpace(self.D, self.kept[np.sort(points)])


@dataclass(frozen=True, eq=False)
class SparseSpace:
    """Samples of whose distances some are given; the others are infinite.

    Attributes
    ----------
    D : csr_matrix of shape (n, n)
        Distances between different places: none that it holds is 0.
    """

    D: sparse.csr_matrix

    can_link: ClassVar = False

    @classmethod
    def from_distances(cls, D):
        """Take each place once."""
        D = sparse.csr_matrix(D, dtype=np.float64)
        pairs = D.tocoo()
        copies = (pairs.data == 0) & (pairs.col < pairs.row)
        kept = np.setdiff1d(np.arange(D.shape[0]), pairs.row[copies])
        D = D[kept][:, kept].copy()
        D.setdiag(0)
        D.eliminate_zeros()
        return cls(D)

    def neighbor_graph(self, policy):
        """Return the graph of given distances; they do not tell the dimension."""
        return self.D, math.nan

    def distances_from(self, source):
        """Return the distances of all samples from one of them."""
        row = self.D[[source]]
        distances = np.full(self.D.shape[0], np.inf)
        distances[row.indices] = row.data
        return distances
