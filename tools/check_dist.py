"""Check that the source distribution and the wheel in a folder carry the whole package.

python tools/check_dist.py dist
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked_files():
    """Return the paths that git tracks, relative to the root."""
    command = ["git", "ls-files"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(output.splitlines())


def missing_in_sdist(path):
    """Return tracked files that a source distribution lacks."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return tracked_files() - names


def missing_in_wheel(path):
    """Return Python files that a wheel lacks, and Cython modules that are not compiled in it."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    compiled = {name.partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    python = {name for name in tracked_files() if name.startswith("skhmat/")} - names
    return python | {
        name
        for name in tracked_files()
        if name.endswith(".pyx") and "skhmat/" + name.removesuffix(".pyx") not in compiled
    }


def main(folder):
    """Exit with the names of what is missing."""
    missing = {path.name: missing_in_sdist(path) for path in Path(folder).glob("*.tar.gz")}
    missing |= {path.name: missing_in_wheel(path) for path in Path(folder).glob("*.whl")}
    if len(missing) < 2:
        sys.exit(f"{folder} must have a source distribution and a wheel, got {sorted(missing)}")
    lost = [f"{name} lacks {file}" for name, files in missing.items() for file in sorted(files)]
    if lost:
        sys.exit("\n".join(lost))


if __name__ == "__main__":
    main(sys.argv[1])
