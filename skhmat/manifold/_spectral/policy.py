"""The thresholds of all steps in one object."""

from dataclasses import dataclass, field

from .affinity import AffinityPolicy
from .bandwidth import BandwidthPolicy
from .distance_histogram import HistogramPolicy
from .eigenpairs import EigenpairPolicy
from .extension import ExtensionPolicy
from .multilevel_start import StartPolicy
from .neighborhoods import NeighborPolicy


@dataclass(frozen=True)
class SpectralPolicy:
    """The policies of all steps of a fit and an extension, each from the module of its name."""

    neighborhoods: NeighborPolicy = field(default_factory=NeighborPolicy)
    distance_histogram: HistogramPolicy = field(default_factory=HistogramPolicy)
    bandwidth: BandwidthPolicy = field(default_factory=BandwidthPolicy)
    affinity: AffinityPolicy = field(default_factory=AffinityPolicy)
    multilevel_start: StartPolicy = field(default_factory=StartPolicy)
    eigenpairs: EigenpairPolicy = field(default_factory=EigenpairPolicy)
    extension: ExtensionPolicy = field(default_factory=ExtensionPolicy)
    # Times rtol that a residual of the exact kernel must be for a warning.
    residual_surprise: float = 10


POLICY = SpectralPolicy()
