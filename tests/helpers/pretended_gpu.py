"""A GPU that is the CPU under another name: values are real, and a tensor on the wrong device raises.

Each tensor is marked with where it would lie. What torch refuses of tensors on two devices is refused here,
and so is numpy of one on the GPU. ``tests/vae/test_fake_gpu.py`` has torch's own fake tensors, which see more
and have no values.
"""

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
ACROSS = {"copy_", "__setitem__", "__getitem__", "index", "data", "set_"}  # may be given tensors on the host


class Generator(torch.Generator):
    """A generator that names the device it was made for, and draws on the host."""

    device = None

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.device = torch.device(device)


def on_gpu(value):
    return getattr(value, "pretended", False)


def _mark(value, gpu):
    if isinstance(value, torch.Tensor):
        value.pretended = gpu
    return value


class PretendedGpu(TorchFunctionMode):
    """Marks tensors, and raises where a real GPU would."""

    def __init__(self):
        super().__init__()
        self.kernels = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.device:
            return function(*args, **kwargs)
        name = (resolve_name(function) or getattr(function, "__name__", "")).removesuffix(".__get__")
        name = name.rpartition(".")[2]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        gpu = any(map(on_gpu, given))
        if name in ("device", "is_cuda", "is_cpu") and given:
            place = GPU if gpu else torch.device("cpu")
            return place if name == "device" else gpu == (name == "is_cuda")
        asked = self._asked(name, args, kwargs)
        if name in ("numpy", "__array__") and gpu:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        crossing = name in ACROSS and (not args or on_gpu(args[0]) or not gpu)
        if gpu and asked is None and not crossing:
            self._check(name, given)
        self.kernels += gpu
        args, kwargs = tree_map(_on_the_host, (args, kwargs))
        result = function(*args, **kwargs)
        to_gpu = gpu if asked is None else asked.type == "cuda"
        if asked is not None and given and any(result is one for one in given) and to_gpu != gpu:
            result = result.detach().clone() if not result.requires_grad else result.clone()
        return tree_map(lambda value: _mark(value, to_gpu), result)

    @staticmethod
    def _asked(name, args, kwargs):
        """The device that is asked for; None where it is that of what is given."""
        if name in ("cpu", "cuda"):
            return torch.device(name)
        if kwargs.get("device") is not None:
            return torch.device(kwargs["device"])
        if name == "to":
            other = args[1] if len(args) > 1 else kwargs.get("other")
            if isinstance(other, torch.Tensor):
                return GPU if on_gpu(other) else torch.device("cpu")
            if isinstance(other, (torch.device, str)):
                return torch.device(other)
        return None

    @staticmethod
    def _check(name, given):
        if any(one.dim() and not on_gpu(one) for one in given):
            where = [(tuple(one.shape), "cuda:0" if on_gpu(one) else "cpu") for one in given]
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device: {where}")


def _on_the_host(value):
    return torch.device("cpu") if isinstance(value, torch.device) else value
