"""A device that there is not: its tensors hold the CPU's numbers, and an operation that mixes both kinds is an error.

So that code for a GPU is tested where there is none: what is left on the CPU by mistake is found; nothing is rounded
otherwise. The device's name is `FAR`; within `Pretended` tensors can be made there. Importing this makes the name known
to torch, for good: it must be before the first gradient.
"""

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

FAR = "far"
aten = torch.ops.aten
TO_NUMBERS = aten._local_scalar_dense.default, aten.equal.default


class Absent(getattr(backend_registration, "_DummyBackendModule", object)):
    """Nobody else is to find the device."""

    def is_available(self):
        return False

    def device_count(self):
        return 0


KNOWN = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")  # of torch 2.5 not
if KNOWN:
    backend_registration._setup_privateuseone_for_python_backend(FAR, Absent())


class Far(torch.Tensor):
    """A tensor there; `held` is it here."""

    @staticmethod
    def __new__(cls, held):
        parts = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, device=f"{FAR}:0", **parts)

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


class Pretended(TorchDispatchMode):
    """Where operations that make tensors can make them there."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


def run(operation, args, kwargs):
    """The operation of what is held."""
    tensors = [part for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)]
    far = [part for part in tensors if isinstance(part, Far)]
    if operation is aten.copy_.default:
        here(args[0]).copy_(here(args[1]))
        return args[0]
    device = kwargs.get("device")
    if far and operation is not aten._to_copy.default:
        check(operation, far, [part for part in tensors if not isinstance(part, Far)])
    rest = kwargs if device is None else {**kwargs, "device": torch.device("cpu")}
    found = operation(*here(args), **here(rest))
    if operation in TO_NUMBERS or (not far if device is None else device.type != FAR):
        return found
    there = tree_map_only(torch.Tensor, Far, found)
    return return_and_correct_aliasing(operation, args, kwargs, there) if far and device is None else there


def here(tree):
    return tree_map_only(Far, lambda tensor: tensor.held, tree)


def check(operation, far, near) -> None:
    """As CUDA has it: only single numbers of the CPU go with the device's tensors, and not with single ones only."""
    if any(part.ndim for part in near) or (near and not any(part.ndim for part in far)):
        raise RuntimeError(f"found tensors of both devices in {operation}, expected them on one")
