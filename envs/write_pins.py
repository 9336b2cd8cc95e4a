"""Writes the exact versions of the running environment as a requirements file (see `make pins`)."""

import argparse
import importlib.metadata
import sys
from pathlib import Path

LEFT_OUT = ("pip", "setuptools", "wheel", "triton")  # and nvidia-*, cuda-*: pip chooses those for the machine


def installed() -> set[str]:
    pins = set()
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        version = distribution.version.split("+")[0]  # no local version: 2.13.0+cpu is 2.13.0 elsewhere
        if name.lower() not in LEFT_OUT and not name.lower().startswith(("nvidia-", "cuda-")):
            pins.add(f"{name}=={version}")
    return pins


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("target", type=Path)
parser.add_argument("--beside", type=Path, help="leave out what this file pins, and refer to it")
arguments = parser.parse_args()

lines = [f"# Exact versions for Python 3.11-3.13, made by `make pins` from {arguments.target.stem}.in."]
pins = installed()
if arguments.beside:
    pins -= set(arguments.beside.read_text().splitlines())
    lines.append(f"-r {arguments.beside.name}")
else:
    lines.append("# The CUDA packages that torch brings on a machine with a GPU are left to pip.")
arguments.target.write_text("\n".join([*lines, *sorted(pins, key=str.lower)]) + "\n")
sys.stdout.write(f"{arguments.target}: {len(pins)} pins\n")
