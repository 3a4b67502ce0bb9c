"""Checks of what a variant's source says, and that it can be imported as what it says."""

import ast
import inspect

from rdbench.commands.check.subject import CheckError, Note, Subject
from rdbench.numerics.likelihood import OWN, READINGS
from rdbench.registry.imports import counted, dynamic_imports
from rdbench.registry.source import shipped
from rdbench.vae.models import Model


def declared(subject: Subject) -> str:
    """The decorator says what tables and reports need: a name that is not taken, a reading that exists."""
    found = subject.declaration
    taken = shipped().get(found.name)
    if taken is not None and taken != subject.source.path:
        raise CheckError(
            f"{found.name} is the name of one of rdbench's own, and tables would mix the two; rename it"
        )
    if found.native == OWN and found.kind == "objective":
        raise CheckError(
            f"native={OWN!r} is for a model with a likelihood of its own; of an objective it is one of"
            f" {', '.join(READINGS)}, or None"
        )
    options = ", ".join(f"{name}={value!r}" for name, value in subject.spec.options.items())
    said = f"{found.kind} {found.name}, native reading {found.native or 'none'}, {options or 'no options'}"
    if not found.summary:
        return Note(f"{said}; it has no docstring: begin it with its loss in a line")
    return said if found.paper else Note(f"{said}; paper='...' would say where it comes from")


def imports(subject: Subject) -> str:
    """The source runs, and what stands below the decorator is what it was declared as."""
    target = subject.variant.target
    if subject.declaration.kind == "model" and not (isinstance(target, type) and issubclass(target, Model)):
        raise CheckError(f"{subject.declaration.symbol} is no model; write class ...(rdbench.Model)")
    source = subject.source
    if not source.files:
        return f"{source.module} runs"
    files = ", ".join(each.name for each in counted(source.files))
    said = f"its text runs; an edit of {files} makes it another variant"
    if unseen := dynamic_imports(source.files):
        return Note(f"{said}; what is imported by a computed name ({', '.join(unseen)}) is not seen")
    return said


def options(subject: Subject) -> str:
    """What a sweep sets reaches the code: each option is a parameter there, and is read."""
    target = subject.variant.target
    parameters = inspect.signature(target).parameters
    names = subject.declaration.options
    if lacking := [name for name in names if name not in parameters]:
        raise CheckError(
            f"option {lacking[0]} is declared, but what stands below the decorator takes none such"
        )
    read = {
        node.id
        for node in ast.walk(subject.tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    if unused := [name for name in names if name not in read]:
        return Note(f"{', '.join(unused)} is never read, so setting it changes nothing")
    return ", ".join(f"{name}: {option.type.__name__}" for name, option in names.items()) or "none to set"
