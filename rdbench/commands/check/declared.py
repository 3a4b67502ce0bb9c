"""Checks of what a variant's source says, and that it can be imported as what it says."""

import ast
import inspect

from rdbench.commands.check.plugged import options_line, runs
from rdbench.commands.check.subject import Subject
from rdbench.commands.check.verdicts import Note, need
from rdbench.numerics.likelihood import OWN, STORED_READINGS
from rdbench.registry.source import shipped
from rdbench.vae.models import Model


def declared(subject: Subject) -> str:
    """The decorator says what tables and reports need: a name that is not taken, a reading that exists."""
    variant = subject.declaration
    need(
        shipped().get(variant.name) in (None, subject.source.path),
        f"{variant.name} is the name of one of rdbench's own, and tables would mix the two; rename it",
    )
    need(
        variant.native != OWN or variant.kind != "objective",
        f"native={OWN!r} is for a model with a likelihood of its own; of an objective it is one of"
        f" {', '.join(STORED_READINGS)}, or None",
    )
    reading, options = variant.native or "none", options_line(subject.spec.options)
    text = f"{variant.kind} {variant.name}, native reading {reading}, {options}"
    if not variant.summary:
        return Note(f"{text}; it has no docstring: begin it with its loss in a line")
    return text if variant.paper else Note(f"{text}; paper='...' would say where it comes from")


def imports(subject: Subject) -> str:
    """The source runs, and what stands below the decorator is what it was declared as."""
    target = subject.variant.target
    need(
        subject.declaration.kind != "model" or (isinstance(target, type) and issubclass(target, Model)),
        f"{subject.declaration.symbol} is no model; write class ...(rdbench.Model)",
    )
    source = subject.source
    return runs(source.files, source.module, "variant")


def options(subject: Subject) -> str:
    """What a sweep sets reaches the code: each option is a parameter there, and is read."""
    target = subject.variant.target
    parameters = inspect.signature(target).parameters
    names = subject.declaration.options
    for name in names:
        message = f"option {name} is declared, but what stands below the decorator takes none such"
        need(name in parameters, message)
    used = (node for node in ast.walk(subject.tree) if isinstance(node, ast.Name))
    read = {node.id for node in used if isinstance(node.ctx, ast.Load)}
    if unused := [name for name in names if name not in read]:
        return Note(f"{', '.join(unused)} is never read, so setting it changes nothing")
    return ", ".join(f"{name}: {option.type.__name__}" for name, option in names.items()) or "none to set"
