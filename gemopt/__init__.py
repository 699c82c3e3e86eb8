"""gemopt: which GPU holds which expert of a Mixture-of-Experts model.

Everything a user needs is a name of this package; parts are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemopt import latency as latency
    from gemopt.checkpoint.module import apply_to as apply_to
    from gemopt.cost.evaluate import Evaluation as Evaluation
    from gemopt.cost.evaluate import evaluate as evaluate
    from gemopt.engines.huggingface.recorder import record as record
    from gemopt.files.catalog import load as load
    from gemopt.files.errors import FileError as FileError
    from gemopt.files.instance_file import save as save
    from gemopt.files.placement_file import load_placement as load_placement
    from gemopt.files.placement_file import save_placement as save_placement
    from gemopt.files.profile_file import load_profile as load_profile
    from gemopt.files.profile_file import save_profile as save_profile
    from gemopt.files.trace_file import load_trace as load_trace
    from gemopt.files.trace_file import save_trace as save_trace
    from gemopt.model.check import Infeasible as Infeasible
    from gemopt.model.check import violations as violations
    from gemopt.model.communication import Communication as Communication
    from gemopt.model.instance import Instance as Instance
    from gemopt.model.placement import Placement as Placement
    from gemopt.model.tokens import TokenRouting as TokenRouting
    from gemopt.model.topology import Link as Link
    from gemopt.model.topology import Topology as Topology
    from gemopt.model.topology import topology as topology
    from gemopt.model.trace import RoutingTrace as RoutingTrace
    from gemopt.run.progress import Observer as Observer
    from gemopt.run.progress import Trace as Trace
    from gemopt.run.registry import solvers as solvers
    from gemopt.run.result import Result as Result
    from gemopt.run.result import Status as Status
    from gemopt.run.solve import solve as solve
    from gemopt.run.stop import MaxIterations as MaxIterations
    from gemopt.run.stop import MaxRuntime as MaxRuntime
    from gemopt.run.stop import NoImprovement as NoImprovement
    from gemopt.run.stop import StopReason as StopReason
    from gemopt.run.stop import Target as Target

__version__ = "0.1.0"

_HOMES = {
    "Communication": "model.communication",
    "Evaluation": "cost.evaluate",
    "FileError": "files.errors",
    "Infeasible": "model.check",
    "Instance": "model",
    "Link": "model.topology",
    "MaxIterations": "run.stop",
    "MaxRuntime": "run.stop",
    "NoImprovement": "run.stop",
    "Observer": "run.progress",
    "Placement": "model",
    "Result": "run.result",
    "RoutingTrace": "model.trace",
    "Status": "run.result",
    "StopReason": "run.stop",
    "Target": "run.stop",
    "TokenRouting": "model.tokens",
    "Topology": "model.topology",
    "Trace": "run.progress",
    "apply_to": "checkpoint.module",
    "evaluate": "cost.evaluate",
    "load": "files.catalog",
    "load_placement": "files.placement_file",
    "load_profile": "files.profile_file",
    "load_trace": "files.trace_file",
    "record": "engines.huggingface.recorder",
    "save": "files.instance_file",
    "save_placement": "files.placement_file",
    "save_profile": "files.profile_file",
    "save_trace": "files.trace_file",
    "solve": "run.solve",
    "solvers": "run.registry",
    "topology": "model.topology",
    "violations": "model.check",
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
