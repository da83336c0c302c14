"""Run an experiment on optimizers, and write its report

    python benchmarks/optimizers/run.py 1 --jobs 2

1: variants of the preconditioner beside tuned baselines. 2: time of an epoch beside that of SGD.
3: initialisation and batch size. 4: the learning rate of the first epoch. Each training is a file
``FOLDER/PROBLEM/OPTIMIZER/HASH.json``; those that are there are not run again, also not where the
code has changed since: take another folder then.
"""

import argparse
import ast
import json
import os
import sys
import time
from hashlib import sha256
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from joblib import Parallel, delayed

FOLDER = Path("build", "benchmarks", "optimizers")
BASELINES = ("sgd", "momentum", "adam")
VARIANTS = ("preconditioned_sgd", "adaptive_sgd", "only_adaptive_sgd", "preconditioned_momentum")
TUNED = {"sgd": "preconditioned_tuned_sgd", "momentum": "preconditioned_tuned_momentum"}
COMPARED = ("sgd", "preconditioned_sgd", "adaptive_sgd", "only_adaptive_sgd", "adam")

#: Problems of each experiment, and those of --quick.
PROBLEMS_OF = {
    "1": [
        "digits_mlp",
        "digits_2c2d",
        "patches_3c3d",
        "wisconsin",
        "logistic",
        "quadratic_two_large",
        "quadratic_spread",
    ],
    "2": ["digits_mlp", "mnist_mlp_shape"],
    "3": ["digits_mlp", "digits_2c2d", "patches_3c3d"],
    "4": ["digits_2c2d"],
}
QUICK = {"1": ["wisconsin", "quadratic_spread"], "2": ["digits_mlp"], "3": ["digits_mlp"]}
SEEDS = {"1": 3, "2": 1, "3": 10, "4": 3}
EPOCHS = {"3": 5}

#: Of experiment 2: batch size, and epochs of a round (those of a few milliseconds need more).
COST = {"digits_mlp": (32, 10), "mnist_mlp_shape": (128, 1)}
ROUNDS = 15
#: Of experiment 3. The weights of digits_mlp are those of Keras as the problem has it.
BATCH_SIZES = (32, 128)
STARTS = {"digits_mlp": ("keras",)}
#: Of experiment 4.
FIRST_RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-5, 1e2, 10))


# ---- one run


def settled(spec):
    """Return the arguments of a run with all settings written out, as they are hashed."""
    from protocol import OPTIMIZERS, PROBLEMS

    problem = PROBLEMS[spec["problem"]]
    full = {"batch_size": None, "epochs": None, "init": "problem", "patience": None, **spec}
    full["settings"] = {**OPTIMIZERS[spec["optimizer"]][1], **spec.get("settings", {})}
    for key in ("batch_size", "epochs"):
        if full[key] is None:
            full[key] = getattr(problem, key)
    return full


def path_of(folder, spec):
    """Return where the result of a run is."""
    text = json.dumps(spec, sort_keys=True)
    name = f"{sha256(text.encode()).hexdigest()[:16]}.json"
    return Path(folder, spec["problem"], spec["optimizer"], name)


def write(path, result):
    """Write a result whole or not at all."""
    from protocol import plain

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(plain(result), indent=1, allow_nan=False) + "\n")
    os.replace(temporary, path)


def train(folder, spec):
    """Do a run and write it down; return a line about it, and whether it failed."""
    import protocol

    protocol.one_thread()
    start = time.perf_counter()
    arguments = {k: v for k, v in spec.items() if k not in ("experiment", "optimizer")}
    try:
        result = protocol.run(optimizer_name=spec["optimizer"], **arguments)
    except Exception as error:  # the others are wanted all the same, and this one the next time
        return f"{title(spec)}: FAILED, {type(error).__name__}: {error}", True
    write(path_of(folder, spec), {"experiment": spec["experiment"], **result})
    seconds = time.perf_counter() - start
    loss = result["validation_loss"][-1]
    return f"{title(spec)}: {result['stop']}, validation loss {loss:.4g}, {seconds:.1f} s", False


def title(spec):
    """Return a run in short."""
    settings = ", ".join(f"{key}={value}" for key, value in spec["settings"].items())
    return f"{spec['problem']} {spec['optimizer']}({settings}) seed {spec['seed']}"


def train_all(specs, args):
    """Do the runs that have not been done; return the results of all that did not fail.

    Those that did are counted in ``args.failed``.
    """
    specs = [settled(spec) for spec in specs]
    missing = [spec for spec in specs if not path_of(args.folder, spec).exists()]
    print(f"{len(specs)} runs, {len(missing)} to do", flush=True)
    work = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    lines = work(delayed(train)(args.folder, spec) for spec in missing)
    for i, (line, failed) in enumerate(lines, 1):
        print(f"[{i}/{len(missing)}] {line}", flush=True)
        args.failed += failed
    paths = [path_of(args.folder, spec) for spec in specs]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


# ---- experiments


def specs_of(experiment, problem, optimizer, seeds, **others):
    """Return one run for each seed."""
    common = {"experiment": experiment, "problem": problem, "optimizer": optimizer}
    return [{**common, "seed": seed, **others} for seed in seeds]


def variants(problems, args):
    """Run the variants, and baselines with the learning rate that is best.

    Rates are tried with the first seed, and then those beside the best; the best then gets the
    other seeds, until the best of all has them: a rate that diverges with one of them is out.
    """
    from protocol import RATES, beside, tuned

    rates = RATES[4:17:4] if args.quick else RATES[::2]
    seeds, epochs = range(args.seeds), {"epochs": args.epochs}

    def at_rate(problem, optimizer, rate, seeds):
        settings = {"learning_rate": rate}
        return specs_of("1", problem, optimizer, seeds, settings=settings, **epochs)

    specs = [
        spec
        for problem in problems
        for name in VARIANTS
        for spec in specs_of("1", problem, name, seeds, **epochs)
    ]
    pairs = [(problem, name) for problem in problems for name in BASELINES]
    tried = [spec for pair in pairs for r in rates for spec in at_rate(*pair, r, seeds[:1])]
    train_all(specs, args)
    while True:
        results = train_all(tried, args)
        best = {
            pair: tuned([r for r in results if (r["problem"], r["optimizer"]) == pair])
            for pair in pairs
        }
        wanted = []
        for pair, rate in best.items():
            if rate is None:
                continue
            near = [] if args.quick else beside(rate)
            wanted += [spec for other in near for spec in at_rate(*pair, other, seeds[:1])]
            wanted += at_rate(*pair, rate, seeds)
        new = [spec for spec in wanted if spec not in tried]
        if not new:
            break
        tried += new
    specs = []
    for (problem, name), rate in best.items():
        if rate is None:
            print(f"{problem}: {name} diverges with all learning rates.")
        elif name in TUNED:
            settings = {"inner_rate": rate}
            specs += specs_of("1", problem, TUNED[name], seeds, settings=settings, **epochs)
    train_all(specs, args)


def costs(problems, args):
    """Time epochs, one optimizer after the other and nothing beside."""
    from protocol import cost, one_thread

    one_thread()
    rounds = 2 if args.quick else ROUNDS
    for problem in problems:
        batch_size, epochs = COST.get(problem, (None, 3))
        epochs = 3 if args.quick else args.epochs or epochs
        specs = [
            {
                "experiment": "2",
                "problem": problem,
                "optimizer": name,
                "rounds": rounds,
                "epochs": epochs,
                "batch_size": batch_size,
            }
            for name in COMPARED
        ]
        paths = [path_of(args.folder, spec) for spec in specs]
        if all(path.exists() for path in paths):
            continue
        print(f"{problem}: {rounds} rounds of {', '.join(COMPARED)}", flush=True)
        found = cost(problem, COMPARED, 0, batch_size=batch_size, rounds=rounds, epochs=epochs)
        for path, result in zip(paths, found, strict=True):
            write(path, {"experiment": "2", **result})


def starts(problems, args):
    """Run with several initial weights and batch sizes."""
    specs = [
        spec
        for problem in problems
        for init in STARTS.get(problem, ("problem", "keras"))
        for batch_size in BATCH_SIZES
        for spec in specs_of(
            "3",
            problem,
            "preconditioned_sgd",
            range(args.seeds),
            init=init,
            batch_size=batch_size,
            epochs=args.epochs,
        )
    ]
    train_all(specs, args)


def first_rates(problems, args):
    """Run with given learning rates of the first epoch, and with the one that is learned."""
    rates = FIRST_RATES[::3] if args.quick else FIRST_RATES
    specs = []
    for problem in problems:
        for name, settings in [
            ("preconditioned_sgd", {}),
            *(("preconditioned_sgd", {"learning_rate": rate}) for rate in rates),
            *(("sgd", {"learning_rate": rate}) for rate in rates),
        ]:
            seeds = range(args.seeds)
            specs += specs_of("4", problem, name, seeds, settings=settings, epochs=args.epochs)
    train_all(specs, args)


EXPERIMENTS = {"1": variants, "2": costs, "3": starts, "4": first_rates}


def value_of(text):
    """Return a value given as key=value."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def parsed():
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "all", "single"])
    parser.add_argument("--problems", nargs="+", metavar="P", help="instead of its own")
    parser.add_argument("--seeds", type=int, help="number of them (3; of experiment 3: 10)")
    parser.add_argument("--epochs", type=int, help="instead of those of problem and experiment")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of results ({FOLDER})")
    parser.add_argument("--quick", action="store_true", help="a trial, in FOLDER/quick")
    single = parser.add_argument_group("single")
    single.add_argument("--problem")
    single.add_argument("--optimizer")
    single.add_argument("--set", nargs="*", type=value_of, default=[], metavar="KEY=VALUE")
    single.add_argument("--seed", type=int, default=0)
    single.add_argument("--batch-size", type=int)
    single.add_argument("--init", choices=["problem", "keras"], default="problem")
    single.add_argument("--patience", type=int)
    args = parser.parse_args()
    args.failed = 0
    if args.experiment == "single" and not (args.problem and args.optimizer):
        parser.error("single needs --problem and --optimizer")
    if args.quick:
        args.folder /= "quick"
    return parser, args


def checked(parser, args):
    """Complain of names that are unknown."""
    from protocol import OPTIMIZERS, PROBLEMS

    for problem in [*(args.problems or []), args.problem]:
        if problem is not None and problem not in PROBLEMS:
            parser.error(f"no problem {problem!r}; there are {', '.join(PROBLEMS)}")
    if args.optimizer is not None and args.optimizer not in OPTIMIZERS:
        parser.error(f"no optimizer {args.optimizer!r}; there are {', '.join(OPTIMIZERS)}")


def main():
    """Do what the command line says."""
    parser, args = parsed()
    checked(parser, args)
    if args.experiment == "single":
        spec = specs_of(
            "single",
            args.problem,
            args.optimizer,
            [args.seed],
            settings=dict(args.set),
            batch_size=args.batch_size,
            init=args.init,
            epochs=2 if args.quick and args.epochs is None else args.epochs,
            patience=args.patience,
        )
        found = train_all(spec, args)
        if found:
            print(path_of(args.folder, settled(spec[0])))
        return 0 if found else 1
    from report import write_report

    for experiment in EXPERIMENTS if args.experiment == "all" else [args.experiment]:
        own = argparse.Namespace(**{**vars(args), "failed": 0})
        own.seeds = args.seeds or (1 if args.quick else SEEDS[experiment])
        own.epochs = args.epochs or (2 if args.quick else EPOCHS.get(experiment))
        problems = QUICK.get(experiment) if args.quick else None
        problems = args.problems or problems or PROBLEMS_OF[experiment]
        start = time.perf_counter()
        EXPERIMENTS[experiment](problems, own)
        args.failed += own.failed
        print(f"Experiment {experiment}: {(time.perf_counter() - start) / 60:.1f} minutes")
        print(write_report(args.folder, experiment))
    if args.failed:
        print(f"{args.failed} runs failed, and are in no report.")
    return 1 if args.failed else 0


if __name__ == "__main__":
    sys.exit(main())
