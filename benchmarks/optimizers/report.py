"""Write the report of an experiment from its results: tables and pictures

    python benchmarks/optimizers/report.py 1 --folder FOLDER

Numbers are medians over seeds, with the smallest and the largest. Runs that diverged are counted,
and are in the medians with an infinite loss.
"""

import argparse
import json
import statistics
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path("build", "benchmarks", "optimizers")
BASELINES = ("sgd", "momentum", "adam")
NAMES = {
    "sgd": "SGD",
    "momentum": "momentum",
    "adam": "Adam",
    "preconditioned_sgd": "preconditioned SGD",
    "adaptive_sgd": "adaptive SGD",
    "only_adaptive_sgd": "only adaptive SGD",
    "preconditioned_tuned_sgd": "preconditioned tuned SGD",
    "preconditioned_tuned_momentum": "preconditioned tuned momentum",
    "preconditioned_momentum": "preconditioned momentum",
}
#: Variants that take the learning rate of a baseline.
TUNED = {"preconditioned_tuned_sgd": "sgd", "preconditioned_tuned_momentum": "momentum"}
#: The same colour for an optimizer in all pictures; baselines are dashed.
COLOURS = {
    "sgd": "#555555",
    "momentum": "#a0a0a0",
    "adam": "#000000",
    "preconditioned_sgd": "#d62728",
    "adaptive_sgd": "#1f77b4",
    "only_adaptive_sgd": "#17becf",
    "preconditioned_tuned_sgd": "#ff7f0e",
    "preconditioned_tuned_momentum": "#bcbd22",
    "preconditioned_momentum": "#9467bd",
}
_MEASURES = {
    "train_loss": "training loss",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation accuracy",
}


# ---- numbers


def results_of(folder, experiment):
    """Return all results of an experiment, in the order of problems, optimizers and seeds."""
    found = [json.loads(path.read_text()) for path in Path(folder).glob("*/*/*.json")]
    order = list(NAMES)
    return sorted(
        (one for one in found if one["experiment"] == experiment),
        key=lambda one: (one["problem"], order.index(one["optimizer"]), one["seed"]),
    )


def grouped(results, key):
    """Return results by a key, a name or a function of them."""
    found = {}
    for one in results:
        found.setdefault(key(one) if callable(key) else one[key], []).append(one)
    return found


def last(one, name):
    """Return the last number of a run; losses of runs that diverged are infinite."""
    value = one[name][-1] if isinstance(one[name], list) else one[name]
    if one["stop"] == "diverged" and name.endswith("loss"):
        return np.inf
    return np.nan if value is None else value


def number(value):
    """Return a number for a table."""
    if value is None or np.isnan(value):
        return "–"
    return "∞" if np.isinf(value) else f"{value:.3g}"


def spread(values):
    """Return median, smallest and largest for a table."""
    values = [value for value in values if value is not None and not np.isnan(value)]
    if not values:
        return "–"
    middle = number(median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values))} to {number(max(values))})"


def median(values):
    """Return the median; infinite where one of two in the middle is, as they have no mean."""
    return statistics.median(values) if len(values) else np.nan


def ratio(a, b):
    """Return a ratio for a table; none where one is not finite, or nothing is left to compare."""
    return number(a / b) if np.isfinite(a) and np.isfinite(b) and b > 0 else "–"


def table(rows):
    """Return dicts with the same keys as a table."""
    if not rows:
        return "Nothing yet.\n"
    lines = [rows[0], dict.fromkeys(rows[0], "---"), *rows]
    cells = [list(rows[0]), *(list(map(str, row.values())) for row in lines[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells) + "\n"


def diverged(some):
    """Return how many runs diverged, of how many."""
    return f"{sum(one['stop'] == 'diverged' for one in some)} of {len(some)}"


def best_rate(some):
    """Return the runs with the learning rate that the protocol chose."""
    from protocol import tuned

    for one in some:  # as JSON has no infinity
        one["validation_loss"] = [np.inf if v is None else v for v in one["validation_loss"]]
    rate = tuned(some)
    return [one for one in some if one["settings"]["learning_rate"] == rate], rate


def warned(results):
    """Return a list of the warnings, and in how many runs each was."""
    counts = {}
    for one in results:
        for text in one.get("warnings", []):
            # Counts differ from run to run; what is said does not.
            text = "".join("N" if c.isdigit() else c for c in text)
            while "NN" in text:
                text = text.replace("NN", "N")
            if "ProbabilisticPreconditioner" in text:
                counts[text] = counts.get(text, 0) + 1
    lines = [f"- in {n} runs: {text}" for text, n in sorted(counts.items(), key=lambda p: -p[1])]
    return "\n".join(["Warnings:", "", *lines, ""]) if lines else ""


def origin(results):
    """Return where the results come from."""
    machines = sorted({one["machine"] for one in results})
    versions = sorted(
        {", ".join(f"{k} {v}" for k, v in one["versions"].items()) for one in results}
    )
    sources = sorted({one["source"] for one in results})
    dates = [one["date"] for one in results]
    lines = [
        f"{len(results)} runs, {min(dates)} to {max(dates)}.",
        f"Machine: {'; '.join(machines)}. Versions: {'; '.join(versions)}.",
    ]
    if len(sources) > 1:
        lines.append(f"**Of {len(sources)} versions of the source**: {', '.join(sources)}.")
    for problem, some in grouped(results, "problem").items():
        epochs = sorted({one["epochs"] for one in some})
        if len(epochs) > 1:
            lines.append(f"**{problem} has runs of several numbers of epochs**: {epochs}.")
    return "\n".join(lines) + "\n"


# ---- pictures


def limits(axis, curves):
    """Give a logarithmic axis where losses are of several magnitudes, and cut what diverges."""
    first = max(curve[0] for curve in curves)
    values = np.concatenate(curves)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    low = max(values.min(), 1e-12)
    if first / low > 10:
        axis.set_yscale("log")
        axis.set_ylim(low / 1.5, 3 * first)
    else:
        axis.set_ylim(max(0, low - 0.05 * (first - low)), 1.3 * first)


def bands(results, problem, path):
    """Draw the curves of each optimizer over epochs, and the range of its seeds."""
    measures = {
        name: label
        for name, label in _MEASURES.items()
        if any(value is not None for one in results for value in one[name])
    }
    figure, axes = plt.subplots(
        1, len(measures), figsize=(4.4 * len(measures) + 0.6, 5.2), layout="constrained"
    )
    for axis, (name, label) in zip(np.atleast_1d(axes), measures.items(), strict=True):
        drawn = []
        for optimizer, some in grouped(results, "optimizer").items():
            length = max(len(one[name]) for one in some)
            curves = np.full((len(some), length), np.nan)
            for row, one in zip(curves, some, strict=True):
                row[: len(one[name])] = [np.nan if v is None else v for v in one[name]]
            # One that has stopped is out of the band, but holds the median up.
            filled = np.where(np.isnan(curves), np.inf if "loss" in name else -np.inf, curves)
            middle = np.sort(filled, axis=0)[
                len(some) // 2 if "loss" in name else (len(some) - 1) // 2
            ]
            x = np.arange(length)
            style = "--" if optimizer in BASELINES else "-"
            axis.plot(
                x,
                np.where(np.isfinite(middle), middle, np.nan),
                style,
                color=COLOURS[optimizer],
                label=NAMES[optimizer],
                linewidth=1.6,
            )
            low, high = np.fmin.reduce(curves), np.fmax.reduce(curves)
            axis.fill_between(x, low, high, color=COLOURS[optimizer], alpha=0.13, linewidth=0)
            drawn.append(curves.ravel()[np.isfinite(curves.ravel())])
        if "loss" in name:
            limits(axis, [curve for curve in drawn if len(curve)])
        else:
            axis.set_ylim(0, 1.02)
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_title(label, fontsize=11)
        axis.grid(alpha=0.25)
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False
    )
    figure.suptitle(problem)
    save(figure, path)


def save(figure, path):
    figure.savefig(path, dpi=110)
    plt.close(figure)


# ---- experiments


def variants(results, folder):
    """Write of experiment 1: tables and curves for each problem."""
    text = [
        "# Experiment 1: variants beside tuned baselines\n",
        "The learning rate of baselines is the one with the best median of the last validation "
        "losses, of those that diverged with no seed; the variants have their defaults, and "
        '"tuned" ones the rate of the baseline. *Epochs to SGD\'s loss*: until the median '
        "training loss is that of SGD at the end. Seconds of epochs are of runs beside others.\n",
    ]
    for problem, some in grouped(results, "problem").items():
        chosen, rates, rows, tried = {}, {}, [], []
        for optimizer, runs in grouped(some, "optimizer").items():
            if optimizer in BASELINES:
                for rate, at in sorted(
                    grouped(runs, lambda o: o["settings"]["learning_rate"]).items()
                ):
                    tried.append(
                        {
                            "optimizer": NAMES[optimizer],
                            "rate": f"{rate:g}",
                            "validation loss": spread([last(one, "validation_loss") for one in at]),
                            "diverged": diverged(at),
                        }
                    )
                runs, rates[optimizer] = best_rate(runs)
            elif optimizer in TUNED:
                # Another rate was best when there were less seeds, perhaps.
                rate = rates.get(TUNED[optimizer])
                runs = [one for one in runs if one["settings"]["inner_rate"] == rate]
            if runs:
                chosen[optimizer] = runs
        sgd = chosen.get("sgd", [])
        goal = median([last(one, "train_loss") for one in sgd])
        for optimizer, runs in chosen.items():
            losses = [last(one, "train_loss") for one in runs]
            rate = runs[0]["settings"].get("learning_rate", runs[0]["settings"].get("inner_rate"))
            if not runs[0]["config"]["class_name"].startswith("Prob"):
                learned = f"{rate:g}"
            elif "inner_rate" in runs[0]["settings"]:
                learned = f"{rate:g}, of the baseline"
            else:
                learned = "learned"
            rows.append(
                {
                    "optimizer": NAMES[optimizer],
                    "rate": learned,
                    "training loss": spread(losses),
                    "ratio to SGD": ratio(median(losses), goal),
                    "validation loss": spread([last(one, "validation_loss") for one in runs]),
                    "test accuracy": spread([last(one, "test_accuracy") for one in runs]),
                    "diverged": diverged(runs),
                    "epochs to SGD's loss": reached(runs, goal),
                    "s per epoch": spread([last(one, "median_wall") for one in runs]),
                }
            )
        picture = f"experiment_1_{problem}.png"
        bands([one for runs in chosen.values() for one in runs], problem, folder / picture)
        text += [f"## {problem}\n", table(rows)]
        text += ["There is no accuracy: the loss is the output.\n"] * ("quadratic" in problem)
        text += [f"![{problem}]({picture})\n", "Learning rates tried:\n", table(tried)]
    return text


def reached(runs, goal):
    """Return the first epoch in which the median training loss is not above `goal`."""
    length = max(len(one["train_loss"]) for one in runs)
    curves = np.full((len(runs), length), np.inf)
    for row, one in zip(curves, runs, strict=True):
        row[: len(one["train_loss"])] = [np.inf if v is None else v for v in one["train_loss"]]
    middle = np.sort(curves, axis=0)[len(runs) // 2]
    there = np.flatnonzero(middle <= goal)
    return str(there[0]) if len(there) and np.isfinite(goal) else "–"


def costs(results, folder):
    """Write of experiment 2: times of epochs, and their ratios to SGD in the same round."""
    text = [
        "# Experiment 2: time of an epoch\n",
        "One process with one thread for TensorFlow; all optimizers in turn in each round. Ratios "
        "are of the medians of a round, then median and range over rounds. The first two "
        "epochs, in which graphs are made, are left out. Seconds are medians of all others.\n",
    ]
    figure, axes = plt.subplots(
        1,
        len(grouped(results, "problem")),
        figsize=(5.4 * len(grouped(results, "problem")), 4.2),
        layout="constrained",
        squeeze=False,
    )
    for axis, (problem, some) in zip(axes[0], grouped(results, "problem").items(), strict=True):
        by_name = {one["optimizer"]: one for one in some}
        rows, found = [], {}
        for name, one in by_name.items():
            ratios = {
                clock: rounds_of(one, clock) / rounds_of(by_name["sgd"], clock)
                for clock in ("wall", "cpu")
            }
            found[name] = ratios
            rows.append(
                {
                    "optimizer": NAMES[name],
                    "wall, s": number(one["median_wall"]),
                    "CPU, s": number(one["median_cpu"]),
                    "first epoch, s": number(one["wall"][0]),
                    "wall, ratio to SGD": spread(ratios["wall"]),
                    "CPU, ratio to SGD": spread(ratios["cpu"]),
                }
            )
        text += [f"## {problem}, batches of {some[0]['batch_size']}\n", table(rows)]
        x = np.arange(len(found))
        for shift, clock, hatch in ((-0.2, "wall", None), (0.2, "cpu", "//")):
            middles = [np.median(ratios[clock]) for ratios in found.values()]
            ends = [
                [m - r[clock].min() for m, r in zip(middles, found.values(), strict=True)],
                [r[clock].max() - m for m, r in zip(middles, found.values(), strict=True)],
            ]
            axis.bar(
                x + shift,
                middles,
                0.38,
                yerr=ends,
                capsize=3,
                color=[COLOURS[name] for name in found],
                alpha=0.8 if hatch is None else 0.45,
                hatch=hatch,
                edgecolor="white",
            )
            for at, m, end in zip(x + shift, middles, ends[1], strict=True):
                axis.text(at, m + end + 0.03, f"{m:.2f}", ha="center", va="bottom", fontsize=8)
        axis.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axis.set_xticks(x, [NAMES[name].replace(" ", "\n") for name in found], fontsize=9)
        axis.margins(y=0.12)
        axis.set_title(f"{problem}, batches of {some[0]['batch_size']}", fontsize=11)
        axis.set_ylabel("time of an epoch, relative to SGD")
    figure.suptitle("plain: wall time; hatched: CPU time; bars: range over rounds", fontsize=10)
    save(figure, folder / "experiment_2.png")
    return [*text, "![times](experiment_2.png)\n"]


def rounds_of(one, clock):
    """Return the median of each round."""
    counted = one[clock][len(one["tracing_epochs"]) :]
    return np.median(np.reshape(counted, (one["rounds"], -1)), axis=1)


def starts(results, folder):
    """Write of experiment 3: divergences by initial weights and batch size."""
    text = [
        "# Experiment 3: initial weights and batch size\n",
        f"Preconditioned SGD with its defaults, {max(one['epochs'] for one in results)} epochs. "
        "*Not below the start*: runs that did not diverge, but end with more training loss than "
        "they began with.\n",
    ]
    rows, cells = [], {}
    for problem, some in grouped(results, "problem").items():
        for (init, size), runs in sorted(
            grouped(some, lambda one: (one["init"], one["batch_size"])).items()
        ):
            cells[f"{problem}\n{init}, {size}"] = runs
            stuck = [
                one["stop"] != "diverged" and not last(one, "train_loss") < one["train_loss"][0]
                for one in runs
            ]
            rows.append(
                {
                    "problem": problem,
                    "weights": init,
                    "batch": size,
                    "diverged": diverged(runs),
                    "not below the start": sum(stuck),
                    "training loss": spread([last(one, "train_loss") for one in runs]),
                    "test accuracy": spread([last(one, "test_accuracy") for one in runs]),
                    "learning rate at the end": spread(
                        [
                            one["learning_rate"][-1][0]
                            for one in runs
                            if one["stop"] != "diverged" and one["learning_rate"][-1]
                        ]
                    ),
                }
            )
    figure, axis = plt.subplots(figsize=(1.3 * len(cells) + 1.5, 4.6), layout="constrained")
    rng = np.random.default_rng(0)
    losses = [[last(one, "train_loss") for one in runs] for runs in cells.values()]
    finite = [loss for some in losses for loss in some if np.isfinite(loss)]
    top = 2 * max(finite, default=1)
    for x, (runs, some) in enumerate(zip(cells.values(), losses, strict=True)):
        some = np.array(some)
        at = x + rng.uniform(-0.15, 0.15, len(some))
        out = ~np.isfinite(some)
        colour = COLOURS["preconditioned_sgd"]
        axis.plot(at[~out], some[~out], "o", color=colour, alpha=0.6, markersize=5)
        axis.plot(at[out], np.full(out.sum(), top), "x", color="black", markersize=7)
        middle = median(list(some))
        if np.isfinite(middle):
            axis.plot([x - 0.25, x + 0.25], [middle, middle], color="black", linewidth=1.5)
        begin = np.median([one["train_loss"][0] for one in runs])
        axis.plot([x - 0.35, x + 0.35], [begin, begin], ":", color="grey")
    axis.set_yscale("log")
    axis.set_xticks(range(len(cells)), list(cells), fontsize=8)
    axis.set_ylabel("training loss at the end")
    axis.set_title("crosses: diverged; bar: median; dotted: before training", fontsize=10)
    axis.grid(axis="y", alpha=0.25)
    save(figure, folder / "experiment_3.png")
    return [*text, table(rows), "![losses](experiment_3.png)\n"]


def first_rates(results, folder):
    """Write of experiment 4: losses over the learning rate of the first epoch."""
    text = ["# Experiment 4: the learning rate of the first epoch\n"]
    for problem, some in grouped(results, "problem").items():
        epochs = some[0]["epochs"]
        text.append(
            f"## {problem}\n\nTraining loss after the first of {epochs} epochs, and the last. SGD "
            "keeps the rate; preconditioned SGD has it in the first epoch only.\n"
        )
        by_rate = grouped(some, lambda o: (o["optimizer"], o["settings"].get("learning_rate")))
        rows = [
            {
                "optimizer": NAMES[name],
                "rate": "automatic" if rate is None else f"{rate:g}",
                "after 1": spread([after(one, 1) for one in runs]),
                f"after {epochs}": spread([after(one, epochs) for one in runs]),
                "diverged": diverged(runs),
            }
            for (name, rate), runs in sorted(
                by_rate.items(), key=lambda item: (item[0][0], item[0][1] or 0)
            )
        ]
        picture = f"experiment_4_{problem}.png"
        figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained", sharey=True)
        start = np.median([one["train_loss"][0] for one in some])
        top = 2 * start
        for axis, epoch in zip(axes, (1, epochs), strict=True):
            for name in ("sgd", "preconditioned_sgd"):
                rates = sorted(r for n, r in by_rate if n == name and r is not None)
                if not rates:
                    continue
                losses = [[after(one, epoch) for one in by_rate[name, rate]] for rate in rates]
                cut = np.minimum([[median(s), min(s), max(s)] for s in losses], top).T
                style = {"color": COLOURS[name], "label": f"{NAMES[name]}, this rate"}
                axis.plot(rates, cut[0], "o--" if name == "sgd" else "o-", markersize=4, **style)
                axis.fill_between(rates, cut[1], cut[2], color=COLOURS[name], alpha=0.15)
            automatic = [after(one, epoch) for one in by_rate.get(("preconditioned_sgd", None), [])]
            if automatic:
                axis.axhline(
                    min(median(automatic), top),
                    linestyle="--",
                    color=COLOURS["adaptive_sgd"],
                    label="preconditioned SGD, automatic",
                )
                ends = np.minimum([min(automatic), max(automatic)], top)
                axis.axhspan(*ends, color=COLOURS["adaptive_sgd"], alpha=0.12)
            axis.axhline(start, linestyle=":", color="grey", label="before training")
            axis.set_xscale("log")
            axis.set_xlabel("learning rate of the first epoch")
            axis.set_title(f"after epoch {epoch}", fontsize=11)
            axis.grid(alpha=0.25)
        lowest = min(min(map(min, (line.get_ydata() for line in a.lines))) for a in axes)
        if start / max(lowest, 1e-12) > 10:
            axes[0].set_yscale("log")
        axes[0].set_ylabel("training loss (diverged: at the top)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(problem)
        save(figure, folder / picture)
        text += [table(rows), f"![{problem}]({picture})\n"]
    return text


def after(one, epoch):
    """Return the training loss after an epoch; infinite where the run had ended."""
    losses = one["train_loss"]
    if epoch >= len(losses) or losses[epoch] is None:
        return np.inf
    return losses[epoch]


EXPERIMENTS = {"1": variants, "2": costs, "3": starts, "4": first_rates}


def write_report(folder, experiment):
    """Write the report of an experiment; return where it is."""
    folder = Path(folder)
    results = results_of(folder, experiment)
    if not results:
        raise SystemExit(f"There are no results of experiment {experiment} in {folder}.")
    text = [*EXPERIMENTS[experiment](results, folder), warned(results), origin(results)]
    path = folder / f"experiment_{experiment}.md"
    path.write_text("\n".join(filter(None, text)))
    return path


def main():
    """Write the report that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "all"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of results ({FOLDER})")
    args = parser.parse_args()
    for experiment in EXPERIMENTS if args.experiment == "all" else [args.experiment]:
        print(write_report(args.folder, experiment))


if __name__ == "__main__":
    main()
