"""``gemopt check-solver``: does a solver keep the contract?"""

from __future__ import annotations

from typing import Annotated

import typer

from gemopt.cli.common import JsonOption, print_json, print_table


def command(
    name: Annotated[str, typer.Argument(help="Solver, see `gemopt solvers`.")],
    as_json: JsonOption = False,
) -> int:
    """Run every rule of the solver contract on tiny instances, and say what passed.

    \b
    For example:
      gemopt check-solver lpt
    """
    from gemopt.run.registry import entry
    from gemopt.testing import contract_report

    entry(name)
    rules = contract_report(name)
    passed = all(rule.fault is None for rule in rules)
    if as_json:
        facts = [vars(rule) | {"passed": rule.fault is None} for rule in rules]
        print_json({"solver": name, "passed": passed, "rules": facts})
        return 0 if passed else 1
    print_table(
        ["", "rule", "instances"],
        [
            ["passed" if r.fault is None else "FAILED", r.rule, str(r.instances)]
            for r in rules
        ],
    )
    for rule in rules:
        if rule.fault is not None:
            print(f"{rule.name}: {rule.fault}")
    print(f"{name} {'keeps' if passed else 'breaks'} the contract")
    return 0 if passed else 1
