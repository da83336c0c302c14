"""What compression says of itself."""

import math
import pickle

from skhmat.linalg._hierarchical.report import CompressionReport

from .problems import make_compressed


def test_an_empty_report_shares_nothing():
    one, other = CompressionReport(), CompressionReport()
    one.seconds["tree"] = 1.0
    one.parameters["scale"] = 2.0
    assert other == CompressionReport()
    assert other.seconds == other.parameters == {}
    assert (other.n_read, other.error, other.rtol, other.reason_dense) == (0, 0.0, 0.0, "")


def test_report_of_a_compression():
    report = make_compressed(budget=0.2).report_
    phases = list(report.seconds)
    assert phases.index("tree") < phases.index("skeletons") < phases.index("blocks")
    assert all(seconds >= 0 for seconds in report.seconds.values())
    assert 0 < report.error <= report.rtol == 1e-3
    assert report.n_read > 0
    assert report.reason_dense == ""
    assert report.parameters["leaf_size"] == 50
    assert math.frexp(report.parameters["scale"])[0] == 0.5  # a power of two
    assert 0 <= report.parameters["recall"] <= 1
    assert pickle.loads(pickle.dumps(report)) == report
