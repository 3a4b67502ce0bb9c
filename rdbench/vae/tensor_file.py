"""A checkpoint as bytes, without pickle: tensors in the safetensors format, all else as JSON."""

import json
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor


def copied(value: Any) -> Any:
    """Return nested values with their tensors copied to the host: training changes the originals."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(part) for part in value)
    return value


def encode(of: dict[str, Any], state: Any) -> bytes:
    """Return a checkpoint; the JSON in its header refers to tensors by number."""
    tensors: dict[str, Tensor] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            name = str(len(tensors))
            # In its order in memory: an optimizer reads its state and the weights side by side.
            order = sorted(range(value.dim()), key=value.stride, reverse=True)
            tensors[name] = value.permute(order).contiguous()
            return {"tensor": name, "order": order}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, dict):  # whose keys, in an optimizer's state, are numbers
            return {"dict": [[key, plain(part)] for key, part in value.items()]}
        if isinstance(value, list | tuple):
            return {type(value).__name__: [plain(part) for part in value]}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(
            f"a {type(value).__name__} cannot be kept in a checkpoint; keep numbers, text, tensors"
        )

    text = json.dumps({"of": of, "state": plain(state)})
    return safetensors.torch.save(tensors, {"rdbench": text})


def decode(content: bytes, device: torch.device) -> tuple[dict[str, Any], Any]:
    """Return what :func:`encode` was given, tensors on ``device``."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    described = json.loads(header["__metadata__"]["rdbench"])
    tensors = safetensors.torch.load(content)

    def back(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "tensor" in value:
            order = value["order"]
            stored = tensors[value["tensor"]].to(device)
            return stored.permute([order.index(axis) for axis in range(len(order))])
        ((kind, parts),) = value.items()
        if kind == "dict":
            return {key: back(part) for key, part in parts}
        values = [back(part) for part in parts]
        return tuple(values) if kind == "tuple" else values

    return described["of"], back(described["state"])
