"""Where the computing happens: device, and the threads of torch, ITK and the linear algebra below them.

Threads change numbers. How many there are is config, so that it does not follow ``--cores``; ``all`` takes those that
the job was given instead (``deterministic: fast``).
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Literal

from lungtypes.errors import InputError
from lungtypes.gpus import take_card, visible_cards

Threads = int | Literal["all"]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
ITK_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
GIVEN_THREADS = "OMP_NUM_THREADS"  # Snakemake sets it to the threads of the job
BLAS_VARIABLES = (GIVEN_THREADS, "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def limit_itk() -> None:
    """One thread for ITK in this process and those that it starts; unless told, ITK takes every core of a machine."""
    os.environ[ITK_THREADS] = "1"


def set_itk(*, threads: Threads, seed: int) -> None:
    """Fix ITK's threads and ANTs' seed for this process; must run before anything imports ants.

    Raises InputError when ants is already imported, because the setting would then do nothing.
    """
    number = _number_of(threads)
    if "ants" in sys.modules and os.environ.get(ITK_THREADS) != str(number):
        raise InputError("ants: found it imported already, expected set_itk first. Call set_itk earlier.")
    os.environ[ITK_THREADS] = str(number)
    os.environ["ANTS_RANDOM_SEED"] = str(seed)
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
    _set_linear_algebra(number)


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """``cuda`` when wanted or found, else ``cpu``; raises InputError when cuda is wanted and absent.

    Where several cards are visible (no scheduler narrowed them to one), this process takes one that no other job has.
    """
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise InputError("config, device: found cuda, but torch sees no GPU. Use auto or cpu.")
    if not available or wanted == "cpu":
        return "cpu"
    cards = visible_cards(torch.cuda.device_count())
    if len(cards) > 1:
        torch.cuda.set_device(take_card(cards))
    return "cuda"


def set_torch(*, threads: Threads) -> None:
    """Deterministic kernels and a fixed number of CPU threads for this process.

    threads : a number; or ``all`` of the job's, and the fastest kernels, whose last digits may differ from run to run.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    fast = threads == "all"
    torch.set_num_threads(_number_of(threads))
    torch.use_deterministic_algorithms(not fast, warn_only=True)
    torch.backends.cudnn.benchmark = fast
    _set_linear_algebra(_number_of(threads))


def _number_of(threads: Threads) -> int:
    return int(os.environ.get(GIVEN_THREADS) or os.cpu_count() or 1) if threads == "all" else threads


def _set_linear_algebra(threads: int) -> None:
    """The same threads for BLAS and OpenMP, in the libraries that are loaded and in those that will be.

    Snakemake exports the threads of the job, which it cuts to ``--cores``: sums would be split another way.
    """
    for name in BLAS_VARIABLES:
        os.environ[name] = str(threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)


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
