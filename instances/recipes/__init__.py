"""How each family of instances is made; see `instances/make.py`."""

from collections.abc import Callable

from gemopt.model.instance import Instance
from instances.recipes import paper, profiled, real, tiny

#: Recipe of each instance by family and name.
RECIPES: dict[str, dict[str, Callable[[], Instance]]] = {
    "paper": paper.recipes(),
    "profiled": profiled.recipes(),
    "real": real.recipes(),
    "tiny": tiny.recipes(),
}
