"""Where the computing happens: torch device and threads, ITK threads. Threads change numbers, so both are config."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Literal

from lungtypes.errors import InputError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def set_itk(*, threads: int, seed: int) -> None:
    """Fix ITK's threads and ANTs' seed for this process; must run before anything imports ants.

    Raises InputError when ants is already imported, because the setting would then do nothing.
    """
    if "ants" in sys.modules and os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS") != str(threads):
        raise InputError("ants: found it imported already, expected set_itk first. Call set_itk earlier.")
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["ANTS_RANDOM_SEED"] = str(seed)
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """``cuda`` when wanted or found, else ``cpu``; raises InputError when cuda is wanted and absent."""
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise InputError("config, device: found cuda, but torch sees no GPU. Use auto or cpu.")
    return "cuda" if available and wanted != "cpu" else "cpu"


def make_deterministic(*, torch_threads: int) -> None:
    """Deterministic torch kernels and a fixed number of CPU threads for this process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.set_num_threads(torch_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, for the next ones (Linux with glibc; elsewhere nothing).

    By default every block over 32 MB goes back to the system when it is freed and comes anew, page by page, when the
    next is asked for: at 88 voxels that was half of the time of a map. Numbers do not change.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
