"""Fresh systems in directories, by scripts/lib/image.sh."""

import shutil
from pathlib import Path

from system import REPO, lib, run

IMAGES = REPO / "data/images"


def image(release, *packages):
    """A minimal system of this release with these packages. Made once."""
    root = IMAGES / "-".join([release, *packages])
    complete = root.with_suffix(".complete")
    if not complete.exists():
        lib('source scripts/lib/image.sh; make_image --release "$@"', release, root, *packages)
        complete.touch()
    return root


def copy_image(root, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "--archive", "--reflink=auto", root, to)


def copy_checkout(to):
    """Copies the files of the checkout as they are now, without those that git ignores."""
    for name in run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPO).split("\0"):
        if (REPO / name).is_file():
            copy = Path(to) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, copy)
