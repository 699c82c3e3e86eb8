"""gemopt: which GPU holds which expert of a Mixture-of-Experts model.

Everything a user needs is a name of this package; parts are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemopt import latency as latency
    from gemopt.check import Infeasible as Infeasible
    from gemopt.check import violations as violations
    from gemopt.comm import Communication as Communication
    from gemopt.comm import TokenRouting as TokenRouting
    from gemopt.engines.huggingface.recorder import record as record
    from gemopt.evaluation import Evaluation as Evaluation
    from gemopt.evaluation import evaluate as evaluate
    from gemopt.front_door import solve as solve
    from gemopt.io.catalog import load as load
    from gemopt.io.errors import FileError as FileError
    from gemopt.io.instance_file import save as save
    from gemopt.io.placement_file import load_placement as load_placement
    from gemopt.io.placement_file import save_placement as save_placement
    from gemopt.io.profile_file import load_profile as load_profile
    from gemopt.io.profile_file import save_profile as save_profile
    from gemopt.io.trace_file import load_trace as load_trace
    from gemopt.io.trace_file import save_trace as save_trace
    from gemopt.links import Link as Link
    from gemopt.links import Topology as Topology
    from gemopt.links import topology as topology
    from gemopt.model import Instance as Instance
    from gemopt.model import Placement as Placement
    from gemopt.progress import Observer as Observer
    from gemopt.progress import Trace as Trace
    from gemopt.registry import solvers as solvers
    from gemopt.result import Result as Result
    from gemopt.result import Status as Status
    from gemopt.routing import RoutingTrace as RoutingTrace
    from gemopt.stop import MaxIterations as MaxIterations
    from gemopt.stop import MaxRuntime as MaxRuntime
    from gemopt.stop import NoImprovement as NoImprovement
    from gemopt.stop import StopReason as StopReason
    from gemopt.stop import Target as Target
    from gemopt.weights.module import apply_to as apply_to

__version__ = "0.1.0"

_HOMES = {
    "Communication": "comm",
    "Evaluation": "evaluation",
    "FileError": "io.errors",
    "Infeasible": "check",
    "Instance": "model",
    "Link": "links",
    "MaxIterations": "stop",
    "MaxRuntime": "stop",
    "NoImprovement": "stop",
    "Observer": "progress",
    "Placement": "model",
    "Result": "result",
    "RoutingTrace": "routing",
    "Status": "result",
    "StopReason": "stop",
    "Target": "stop",
    "TokenRouting": "comm",
    "Topology": "links",
    "Trace": "progress",
    "apply_to": "weights.module",
    "evaluate": "evaluation",
    "load": "io.catalog",
    "load_placement": "io.placement_file",
    "load_profile": "io.profile_file",
    "load_trace": "io.trace_file",
    "record": "engines.huggingface.recorder",
    "save": "io.instance_file",
    "save_placement": "io.placement_file",
    "save_profile": "io.profile_file",
    "save_trace": "io.trace_file",
    "solve": "front_door",
    "solvers": "registry",
    "topology": "links",
    "violations": "check",
}
__all__ = ["__version__", "latency", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "latency":
        return import_module("gemopt.latency")
    if name in _HOMES:
        value = getattr(import_module(f"gemopt.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'gemopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
