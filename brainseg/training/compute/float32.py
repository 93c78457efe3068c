"""How float32 is computed on a GPU: in TF32, by the kernels that are fastest for a trial's sizes.

Set anew by each trial, since its process may have run others.
"""

import torch


def set_float32(device: torch.device) -> None:
    """Set how products of float32 are computed on ``device``.

    TF32 rounds the factors of a product to 10 bits of mantissa, as bfloat16 does to 7, and adds
    in float32. PyTorch takes it for convolutions by default; here matrix products as well (the
    interface that torch.compile reads without an error, pytorch 2.9 to 2.14). CPUs stay exact.

    On a GPU cuDNN tries its kernels once for each size and takes the fastest: a trial has one
    size of batch to train on and two to score. It may choose another kernel in another process,
    so that roundings differ between runs, as they do anyway where gradients are added atomically.
    """
    on_gpu = device.type == "cuda"
    torch.set_float32_matmul_precision("high" if on_gpu else "highest")
    torch.backends.cudnn.allow_tf32 = on_gpu
    torch.backends.cudnn.benchmark = on_gpu


def float32_products() -> str:
    """How products of float32 are computed now, as a trial records it."""
    return "TF32" if torch.get_float32_matmul_precision() == "high" else "exact"
