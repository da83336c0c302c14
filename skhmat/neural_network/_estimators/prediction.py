"""Predictions: the same bits for a sample whatever others are predicted with it."""

from dataclasses import dataclass

import numpy as np

from .._keras import tf
from .losses import find_link_of_kept_logits, find_link_of_logits


@dataclass(frozen=True)
class PredictionPolicy:
    """How networks are evaluated.

    The lengths of batches are multiples of 3 and of 64, so that batches split among 2, 3, 4, 6 or 8
    threads still consist of whole tiles.

    Attributes
    ----------
    rows_of_table : int
        Rows of each batch of a prediction from a table.
    rows_of_others : int
        Rows of each batch of images or sequences, whose samples take more work.
    min_batches_for_graph : int
        Batches from which a graph of the network is made: with two cores that took as long as 4 to
        40 batches do without one.
    """

    rows_of_table: int = 384
    rows_of_others: int = 192
    min_batches_for_graph: int = 32


POLICY = PredictionPolicy()

# Grappler fuses operations, and fused ones round otherwise.
_UNOPTIMIZED = tf.compat.v1.ConfigProto()
_UNOPTIMIZED.graph_options.rewrite_options.disable_meta_optimizer = True


def read_outputs(network, X, policy=POLICY):
    """Return the outputs for all samples, and what makes predictions of them.

    A network has learned to make the loss small, so the loss decides what its outputs mean. Where
    that reads logits, so do we: they say more than a softmax or a sigmoid in float32 does, where
    probabilities are near 0 or 1.

    Returns
    -------
    outputs : array of shape (n_samples, width)
    link : {"sigmoid", "softmax", "any"} or None
        As `ClassTarget.scores` and `ValueTarget.decode` take it.
    """
    link = find_link_of_kept_logits(network.loss)
    found, kept = _evaluate_all(network, X, _prefer_logits if link else _as_they_are, policy)
    return found, link if kept else find_link_of_logits(network.loss)


def _evaluate_all(network, X, pick, policy):
    """Return what `pick` takes of the outputs for all samples, and whether it is not themselves."""
    # A matrix product rounds by the length of its batch, and the last rows of a length that is no
    # multiple of the processor's tile otherwise than the rest. So all batches have one length.
    length = policy.rows_of_table if X.ndim == 2 else policy.rows_of_others
    starts = range(0, len(X), length)

    def batch(start):
        return tf.convert_to_tensor(_filled(X[start : start + length], length))

    def evaluate(x):
        return pick(network(x, training=False))

    whole = network(batch(0), training=False)
    first = pick(whole)
    if len(starts) >= policy.min_batches_for_graph and not network.run_eagerly:
        evaluate = _find_graph(network, pick, batch(0), first) or evaluate
    parts = [first, *(evaluate(batch(start)) for start in starts[1:])]
    return np.concatenate(parts)[: len(X)], first is not whole


def _as_they_are(y):
    """Return the outputs."""
    return y


def _prefer_logits(y):
    """Return the logits that Keras keeps with these outputs, or else the outputs."""
    return getattr(y, "_keras_logits", y)


def _find_graph(network, pick, x, y):
    """Return a fast function that evaluates batches like x, or None if it does not map x to y.

    A graph skips the Python code of all layers. Its operations are those that run without it, so
    the bits are the same, and a row among many is predicted like one among few. The comparison is
    for layers that compute something else in a graph, or that were changed since it was made.

    pick : callable
        What it takes of the outputs.
    x : tensor of shape (n_rows, ...)
    y : tensor of shape (n_rows, n_outputs)
    """
    # Kept with the network, like its predict_function: TensorFlow never frees such a graph.
    graphs = vars(network).setdefault("_skhmat_graphs", {})
    key = pick, x.shape, x.dtype
    if key not in graphs:
        graphs[key] = _make_graph(network, pick, tf.TensorSpec(x.shape, x.dtype))
    found = graphs[key](x)
    return graphs[key] if found.numpy().tobytes() == y.numpy().tobytes() else None


def _make_graph(network, pick, spec):
    """Return a function that evaluates a batch of this shape and type by a graph."""
    function = tf.function(lambda x: pick(network(x, training=False)), autograph=False)
    concrete = function.get_concrete_function(spec)

    def evaluate(x):
        # Called as an operation, since only that takes a configuration of its own.
        (y,) = tf.raw_ops.StatefulPartitionedCall(
            args=[x, *concrete.captured_inputs],
            Tout=[concrete.output_dtypes],
            f=concrete,
            config_proto=_UNOPTIMIZED.SerializeToString(),
        )
        return y

    return evaluate


def _filled(rows, length):
    """Return rows, with the last one repeated up to a length: unlike zeros, it is valid input."""
    missing = length - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
