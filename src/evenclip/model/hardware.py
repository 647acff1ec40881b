"""What `auto` stands for on this machine: device and precision."""

import torch

from evenclip.errors import InputError


def resolve_device(name: str) -> torch.device:
    """The device that ``auto`` stands for; `InputError` for a CUDA device that is not there."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise InputError("torch finds no CUDA device", "device", "write device: auto or cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def resolve_precision(name: str, device: torch.device) -> str:
    """What ``auto`` stands for: bf16 where the processor multiplies bfloat16 itself; elsewhere it is slow."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if any(able.get(unit) for unit in ("avx512_bf16", "amx_bf16", "arm_bf16")) else "fp32"
