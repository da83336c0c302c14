"""Which form of a matrix is made: the cheapest by the cost model, with ranks from a pilot."""

import heapq
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from .cluster_tree import Tree, depth_for
from .cost_model import Cost
from .interaction_lists import Interactions, count_votes, interactions_from_votes


@dataclass(frozen=True)
class PlanPolicy:
    """Which leaf sizes and near budgets are considered.

    Attributes
    ----------
    leaf_sizes : tuple of int
        The leaves of trees that are considered hold at most this many points.
    min_size : int
        Rows up to which a matrix has a single leaf.
    n_partners : tuple of int
        Near partners of a leaf, on average, that are considered beside none.
    max_budget : float
        They are at most this fraction of all leaves.
    max_part : float
        Largest part of the memory of all entries that blocks may take: with a half, which is what
        one triangle takes, products would take as long as those of the dense matrix.
    surprise : float
        Mean rank of a level, relative to the expected one, from which the plan is revised.
    max_revisions : int
        Most revisions.
    least_gain : float
        Another plan is taken if its cost is below this multiple of what the present one still
        takes.
    """

    leaf_sizes: tuple = (64, 128, 256, 512)
    min_size: int = 256
    n_partners: tuple = (3, 6, 12, 24, 48, 96)
    max_budget: float = 0.3
    max_part: float = 0.3
    surprise: float = 1.25
    max_revisions: int = 2
    least_gain: float = 0.8


POLICY = PlanPolicy()


@dataclass(frozen=True, eq=False)
class FormPlan:
    """A form of the matrix, and what it is expected to cost.

    Attributes
    ----------
    form : {"in memory", "on the fly", "Fourier", "HSS", "FMM"}
    cost : Cost
    tree : Tree or None
        None for the first three.
    interactions : Interactions or None
    ranks : ndarray of shape (depth + 1,) or None
        Mean rank that is expected of the nodes of each level, root first.
    leaf_size : int or None
        Largest number of points in a leaf that was asked for.
    """

    form: str
    cost: Cost
    tree: Tree | None = None
    interactions: Interactions | None = None
    ranks: np.ndarray | None = None
    leaf_size: int | None = None

    def __str__(self):
        if self.tree is None:
            return f"exact, {self.form}" if self.is_exact else self.form
        near = f"{self.interactions.budget:.1%} of pairs near"
        return f"{self.form}, leaf size {self.leaf_size}, {near}"

    @property
    def is_exact(self):
        """Whether the exact matrix is held."""
        return self.form in ("in memory", "on the fly")

    @property
    def depth(self):
        """Level of the leaves; 0 for forms without a tree."""
        return 0 if self.tree is None else self.tree.depth

    def as_record(self):
        """Return what `summary` tells of it, as a dict that JSON can hold."""
        record = {"form": self.form}
        if self.tree is not None:
            record |= {"leaf_size": self.leaf_size, "budget": self.interactions.budget}
        seconds = {"setup": float(self.cost.setup), "products": float(self.cost.product)}
        return record | seconds | {"nbytes": float(self.cost.nbytes)}


def exact_plans(model, source, max_bytes):
    """Return the plans that hold the exact matrix, the cheapest first.

    Entries of a kernel matrix can be evaluated anew for each product; those of a callable are
    computed once. A matrix in memory takes at most `max_bytes`, unless it is there already.
    """
    can_evaluate = isinstance(getattr(source, "kernel", None), str)
    plans = [FormPlan("on the fly", model.on_the_fly())] if can_evaluate else []
    in_memory = FormPlan("in memory", model.in_memory())
    if model.is_array or not plans or in_memory.cost.nbytes <= max_bytes:
        plans.append(in_memory)
    return sorted(plans, key=lambda plan: plan.cost.total)


def finest_leaf_size(n, leaf_size, policy=POLICY):
    """Return the leaf size of the tree whose levels are the leaves of all trees considered."""
    if leaf_size != "auto":
        return min(leaf_size, max(n, 2))
    return min(policy.leaf_sizes) if n > policy.min_size else policy.min_size


class Planner:
    """Finds the cheapest plan among the exact forms and hierarchical ones.

    Plans are looked at in the order of what they cost at least. That is at first what they would
    cost if nothing were far; then what follows from the ranks of the pilot, which may still be too
    low where few columns were sampled; these are measured again until nothing can be cheaper.

    Parameters
    ----------
    model : CostModel
    pilot : RankPilot
    neighbors : ndarray of shape (n, k)
        In tree order.
    leaf_size : int or "auto"
    budget : float or "auto"
    max_rank : int or None
    exact : list of FormPlan
        Plans for the exact matrix, the cheapest first. Where ranks are too high for all others, the
        first is the last resort; none if the matrix must not be exact.
    exact_competes : bool
        Whether an exact plan is also taken because it costs less.
    others : list of FormPlan
        Further plans without a tree; one is taken if it costs less.
    policy : PlanPolicy
    """

    def __init__(
        self,
        model,
        pilot,
        neighbors,
        *,
        leaf_size="auto",
        budget="auto",
        max_rank=None,
        exact=(),
        exact_competes=True,
        others=(),
        policy=POLICY,
    ):
        self.model, self.pilot, self.neighbors = model, pilot, neighbors
        self.exact, self.exact_competes, self.others = exact, exact_competes, others
        self.max_rank, self.policy = max_rank, policy
        self._budget = budget
        sizes = policy.leaf_sizes if leaf_size == "auto" else (leaf_size,)
        # By the level of the leaves; with one leaf, the smallest size will do.
        n, depth = pilot.tree.leaf_bounds[-1], pilot.tree.depth
        self._leaf_sizes = {min(depth_for(n, size), depth): size for size in reversed(sizes)}
        self._votes, self._interactions = {}, {}
        self._considered, self._n_revisions = [], 0

    def choose(self):
        """Return the cheapest plan."""
        tie = count()
        others = [*(self.exact if self.exact_competes else ()), *self.others]
        queue = [(plan.cost.total, next(tie), None, plan) for plan in others]
        queue += [(self._least(*key), next(tie), key, None) for key in self._candidates()]
        heapq.heapify(queue)
        while queue[0][2] is not None:
            _, _, key, plan = heapq.heappop(queue)
            if plan is not None:
                self._settle(plan)
            plan = self._evaluated(*key)
            key = None if self._is_settled(plan) else key
            heapq.heappush(queue, (plan.cost.total, next(tie), key, plan))
        self._considered = [plan for *_, plan in queue if plan is not None]
        best = queue[0][3]
        return self.exact[0] if self._is_too_large(best) else best

    def revised(self, plan, level, rank):
        """Return a cheaper plan once the ranks of a level are known, or None if there is none.

        Parameters
        ----------
        plan : FormPlan
            Whose bases are known from the leaves up to `level`.
        level : int
        rank : float
            Mean rank of the bases of the level.
        """
        factor = (rank + 1) / (self._ranks(plan.interactions)[level] + 1)
        if factor <= self.policy.surprise or self._n_revisions == self.policy.max_revisions:
            return None
        self._n_revisions += 1
        # What is known tells that the pilot is too low, here and, as far as one can know, above.
        self.pilot.raise_ranks(level, factor)
        best = self.choose()
        ranks = self._ranks(plan.interactions)
        rest = self.model.hierarchical(plan.tree, plan.interactions, ranks, known_from=level)
        if best.tree is None and self._is_too_large(replace(plan, cost=rest)):
            return best
        return best if best.cost.total < self.policy.least_gain * rest.total else None

    def exact_instead(self, plan, ranks, read_all):
        """Return an exact plan that costs less than another attempt, or None.

        Parameters
        ----------
        plan : FormPlan
            Of the last attempt, whose error was too large.
        ranks : ndarray of shape (depth + 1,)
            Mean ranks of its levels.
        read_all : bool
            Whether the next attempt reads all rows.
        """
        if not (self.exact and self.exact_competes):
            return None
        again = self.model.hierarchical(plan.tree, plan.interactions, ranks, read_all=read_all)
        # The next attempt may miss, too.
        return (
            self.exact[0]
            if self.policy.least_gain * self.exact[0].cost.total < again.total
            else None
        )

    def records(self):
        """Return what `summary` tells of the plans that were looked at, the cheapest first."""
        plans = sorted(self._considered, key=lambda plan: plan.cost.total)
        return [plan.as_record() for plan in plans]

    def _is_too_large(self, plan):
        """Return whether the blocks of a plan take so much memory that they are no use."""
        if not self.exact or plan.depth == 0:
            return False
        return plan.cost.nbytes > self.policy.max_part * self.model.in_memory().nbytes

    def _candidates(self):
        """Return pairs of the level of the leaves and the near budget."""
        policy, pairs = self.policy, []
        for level in self._leaf_sizes:
            budgets = [self._budget]
            if self._budget == "auto":
                budgets = [partners / (1 << level) for partners in policy.n_partners]
                budgets = [0.0] + [b for b in budgets if b <= policy.max_budget]
            pairs += [(level, budget) for budget in budgets]
        return pairs

    def _least(self, level, budget):
        """Return a total cost that the plan cannot be below."""
        n_leaves = 1 << level
        size = self.pilot.tree.leaf_bounds[-1] / n_leaves
        return self.model.least(size, 1 + budget * n_leaves).total

    def _evaluated(self, level, budget):
        """Return the plan with the ranks that are known so far."""
        tree = self.pilot.tree.cut_at(level)
        if (level, budget) not in self._interactions:
            votes = self._votes_at(level)
            self._interactions[level, budget] = interactions_from_votes(votes, budget)
        interactions = self._interactions[level, budget]
        ranks = self._ranks(interactions)
        cost = self.model.hierarchical(tree, interactions, ranks)
        form = "HSS" if interactions.budget == 0 else "FMM"
        return FormPlan(form, cost, tree, interactions, ranks, self._leaf_sizes[level])

    def _ranks(self, interactions):
        """Return the mean ranks to expect, of shape (depth + 1,)."""
        ranks, levels = np.zeros(len(interactions.near) + 1), self._levels(interactions)
        for (level, _), rank, is_settled in zip(levels, *self.pilot.ranks(levels), strict=True):
            # One that is not settled is too low; towards the root, ranks rarely fall.
            ranks[level] = rank if is_settled else max(rank, ranks[level + 1])
        ranks = ranks[:-1]
        return ranks if self.max_rank is None else np.minimum(ranks, self.max_rank)

    def _levels(self, interactions):
        """Return the levels that have bases, leaves first, and the mean number of near nodes."""
        active = interactions.active_nodes
        return [
            (level, np.diff(interactions.near[level][0])[active[level]].mean())
            for level in reversed(range(len(active)))
            if active[level].any()
        ]

    def _is_settled(self, plan):
        return all(self.pilot.ranks(self._levels(plan.interactions))[1])

    def _settle(self, plan):
        """Measure again the ranks of the lowest level where they are not settled."""
        levels = self._levels(plan.interactions)
        is_settled = self.pilot.ranks(levels)[1]
        if not all(is_settled):  # they may be by now, for another plan
            self.pilot.settle(*levels[is_settled.index(False)])

    def _votes_at(self, level):
        """Return the votes of a level, which follow from those of the level below."""
        depth = self.pilot.tree.depth
        if level not in self._votes:
            if level == depth:
                self._votes[level] = count_votes(self.pilot.tree, self.neighbors)
            else:
                self._votes[level] = self._votes_at(level + 1).of_parents()
        return self._votes[level]
