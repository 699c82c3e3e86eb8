"""gemopt: which GPU holds which expert of a Mixture-of-Experts model.

Everything a user needs is a name of this package; parts are imported when first used.
Options of a solver are a class such as ``gemopt.SearchParams``, or
``gemopt.params("search")``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemopt import bounds as bounds
    from gemopt import checkpoint as checkpoint
    from gemopt import engines as engines
    from gemopt import files as files
    from gemopt import latency as latency
    from gemopt import policies as policies
    from gemopt import run as run
    from gemopt import serving as serving
    from gemopt import study as study
    from gemopt import testing as testing
    from gemopt import traffic as traffic
    from gemopt.bounds.lower_bound import Bound as Bound
    from gemopt.bounds.lower_bound import lower_bound as lower_bound
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
    from gemopt.run.improvements import Trace as Trace
    from gemopt.run.observer import Observer as Observer
    from gemopt.run.registry import params as params
    from gemopt.run.registry import solvers as solvers
    from gemopt.run.result import Result as Result
    from gemopt.run.result import Status as Status
    from gemopt.run.solve import solve as solve
    from gemopt.run.stop import MaxIterations as MaxIterations
    from gemopt.run.stop import MaxRuntime as MaxRuntime
    from gemopt.run.stop import NoImprovement as NoImprovement
    from gemopt.run.stop import StopReason as StopReason
    from gemopt.run.stop import Target as Target
    from gemopt.study import graph as graph
    from gemopt.study.bench import bench as bench
    from gemopt.study.compare import compare as compare
    from gemopt.traffic.serving import serving_steps as serving_steps

__version__ = "0.1.0"

#: Modules to reach as ``gemopt.NAME``.
_MODULES = {
    **{
        name: f"gemopt.{name}"
        for name in (
            "bounds",
            "checkpoint",
            "engines",
            "files",
            "latency",
            "policies",
            "run",
            "serving",
            "study",
            "testing",
            "traffic",
        )
    },
    "graph": "gemopt.study.graph",
}
#: Modules that hold a name to reach as ``gemopt.NAME``.
_HOMES = {
    "Bound": "bounds.lower_bound",
    "Communication": "model.communication",
    "Evaluation": "cost.evaluate",
    "FileError": "files.errors",
    "Infeasible": "model.check",
    "Instance": "model",
    "Link": "model.topology",
    "MaxIterations": "run.stop",
    "MaxRuntime": "run.stop",
    "NoImprovement": "run.stop",
    "Observer": "run.observer",
    "Placement": "model",
    "Result": "run.result",
    "RoutingTrace": "model.trace",
    "Status": "run.result",
    "StopReason": "run.stop",
    "Target": "run.stop",
    "TokenRouting": "model.tokens",
    "Topology": "model.topology",
    "Trace": "run.improvements",
    "apply_to": "checkpoint.module",
    "bench": "study.bench",
    "compare": "study.compare",
    "evaluate": "cost.evaluate",
    "load": "files.catalog",
    "load_placement": "files.placement_file",
    "load_profile": "files.profile_file",
    "load_trace": "files.trace_file",
    "lower_bound": "bounds.lower_bound",
    "params": "run.registry",
    "record": "engines.huggingface.recorder",
    "save": "files.instance_file",
    "save_placement": "files.placement_file",
    "save_profile": "files.profile_file",
    "save_trace": "files.trace_file",
    "serving_steps": "traffic.serving",
    "solve": "run.solve",
    "solvers": "run.registry",
    "topology": "model.topology",
    "violations": "model.check",
}
__all__ = ["__version__", *_MODULES, *_HOMES]


def __getattr__(name: str) -> Any:
    value: Any
    if name in _MODULES:
        value = import_module(_MODULES[name])
    elif name in _HOMES:
        value = getattr(import_module(f"gemopt.{_HOMES[name]}"), name)
    else:
        value = None
        if name.endswith("Params") and not name.startswith("_"):
            value = import_module("gemopt.run.registry").params_named(name)
        if value is None:
            raise AttributeError(f"module 'gemopt' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
