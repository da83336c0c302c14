"""meson-python, with editable installs that outlive the environment they were built in.

An editable install runs ninja on every import, to compile what changed. After a plain
``pip install -e .`` that ninja is gone, with the temporary environment pip built in, and the import
would fail. So the install is given a script in place of ninja: it runs ninja where the build tools
still exist (``--no-build-isolation``), and else leaves the compiled core as it is.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

import mesonpy
from mesonpy import *  # noqa: F403  (the other hooks)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build an editable wheel; the hook of PEP 660."""
    ninja, cython = shutil.which(os.environ.get("NINJA", "ninja")), shutil.which("cython")
    if ninja and cython and os.name == "posix":
        settings = config_settings or {}
        default = "build/cp{}{}".format(*sys.version_info)
        build_dir = Path(settings.get("build-dir") or settings.get("builddir") or default)
        script = Path(f"{build_dir}-ninja").absolute()
        script.parent.mkdir(parents=True, exist_ok=True)
        bin_dir, ninja, cython = map(shlex.quote, (str(Path(cython).parent), ninja, cython))
        script.write_text(
            "#!/bin/sh\n"
            f"if [ -x {ninja} ] && [ -x {cython} ]; then\n"
            f'  PATH={bin_dir}:"$PATH" exec {ninja} "$@"\n'
            "fi\n"
        )
        script.chmod(0o755)
        os.environ["NINJA"] = str(script)
    return mesonpy.build_editable(wheel_directory, config_settings, metadata_directory)
