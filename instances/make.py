"""Make the instances anew: `python -m instances.make [--into FOLDER] [NAME ...]`.

Every file comes out the same to the byte, from committed sources only.
"""

import argparse
from pathlib import Path

from gemopt.files.catalog import write_catalog
from gemopt.files.instance_file import save
from instances.recipes import RECIPES


def make(root: Path, names: list[str]) -> None:
    """Write the named instances (all without names) below `root`.

    Raises
    ------
    ValueError
        A name without a recipe.
    """
    known = {name for family in RECIPES.values() for name in family}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"no recipe for {unknown[0]!r}; known: {sorted(known)}")
    for family, recipes in RECIPES.items():
        folder = root / family
        folder.mkdir(parents=True, exist_ok=True)
        for name, recipe in recipes.items():
            if not names or name in names:
                save(recipe(), folder / f"{name}.json")
    if not names:
        write_catalog(root)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="instances; none means all")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    make(arguments.into, arguments.names)
