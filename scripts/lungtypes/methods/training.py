"""The training loop of all methods: it guards itself, returns to its last good state, and resumes after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lungtypes.provenance import JobParams, checksum_of

logger = logging.getLogger(__name__)

MAX_RETRIES = 2  # each at a tenth of the rate
GOOD_EVERY = 10  # epochs between states to return to
SECONDS_BETWEEN_FILES = 60.0  # a checkpoint of an 88-voxel network holds 260 MB


@dataclass(frozen=True)
class Checkpoint:
    """Where a phase keeps its last good state while it runs.

    A file with another ``fingerprint`` (see :func:`checkpoint_of`) is of another run and is ignored.
    """

    file: Path
    fingerprint: str

    def of_phase(self, name: str) -> Checkpoint:
        """The checkpoint of one phase of a job that has several, in a file of its own beside this one."""
        return Checkpoint(self.file.with_name(f"{self.file.stem}-{name}{self.file.suffix}"), self.fingerprint)

    def remove(self) -> None:
        """Delete the file once its phase is written."""
        self.file.unlink(missing_ok=True)


@dataclass
class State:
    """All that the next epoch depends on, beside its number.

    parameters : trained tensors by name; optimiser : theirs; memory : further tensors that epochs write and read
    (a target distribution, labels). Random draws of an epoch must come from the seed and the epoch's number.
    """

    parameters: Mapping[str, Tensor]
    optimiser: torch.optim.Optimizer
    memory: dict[str, Tensor] = field(default_factory=dict)

    def copy(self) -> dict[str, Tensor]:
        """Clones of everything, flat, on the CPU."""
        flat = {f"parameter.{name}": tensor for name, tensor in self.parameters.items()}
        flat |= {f"memory.{name}": tensor for name, tensor in self.memory.items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            flat |= {f"optimiser.{index}.{name}": value for name, value in values.items()}
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in flat.items()}

    def set_rate(self, learning_rate: float) -> None:
        """The optimiser's rate; a group of parameters with a ``rate_factor`` has that many times as much."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate * group.get("rate_factor", 1.0)

    def restore(self, flat: Mapping[str, Tensor], *, learning_rate: float) -> None:
        """Put copied tensors back in place, so that the optimiser keeps its parameters; set its rate."""
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(flat[f"parameter.{name}"])
        self.memory.clear()
        inner: dict[int, dict[str, Tensor]] = {}
        for name, tensor in flat.items():
            if name.startswith("memory."):
                self.memory[name.removeprefix("memory.")] = tensor.clone()
            elif name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                inner.setdefault(int(index), {})[key] = tensor.clone()
        self.optimiser.load_state_dict({"state": inner, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.set_rate(learning_rate)


@dataclass(frozen=True)
class Trained:
    """history : one row an epoch that ran, with epoch, attempt (0 first), learning_rate and what the epoch returned.

    ``kept`` is 0 where the guard took the epoch back. events : what the guard did, in words. learning_rate : of the
    state that holds. finished : all epochs ran.
    """

    history: pd.DataFrame
    events: tuple[str, ...]
    learning_rate: float
    finished: bool


def train(
    state: State,
    *,
    epochs: int,
    learning_rate: float,
    run_epoch: Callable[[int], dict[str, float]],
    fault: Callable[[Mapping[str, float]], str],
    checkpoint: Checkpoint | None,
    name: str,
    rate_factor: Callable[[int], float] | None = None,
    fault_of_state: Callable[[int], str] | None = None,
) -> Trained:
    """Run ``epochs`` epochs. ``state`` holds the result.

    run_epoch : epoch number from 1 -> the epoch's figures. fault : those figures -> what is wrong, or nothing.
    rate_factor : epoch number from 1 -> what its rate is multiplied with; a rate that does not change by default.
    fault_of_state : epoch number from 1 -> what is wrong with the state after it, or nothing; asked before a state is
        kept as good, for epochs whose figures are taken before or while they train. It must leave the state alone.

    On a fault the last good state comes back (the start, or the end of every tenth epoch) and the rate is divided by
    ten, twice at the most. A third fault ends the training at the last good state; ``events`` say so, and
    ``finished`` is false. With a checkpoint a killed training goes on where the file stands, and ends with the same
    bytes on the CPU as one that was not killed.
    """
    rows: list[dict[str, float]] = []
    events: list[str] = []
    epoch, attempt, rate = 0, 0, learning_rate
    good, good_epoch, good_rate = state.copy(), 0, learning_rate
    found = _read(checkpoint)
    if found is not None:
        good, kept = found
        rows, events = kept["rows"], kept["events"]
        epoch, attempt, rate = kept["epoch"], kept["attempt"], kept["rate"]
        good_epoch, good_rate = epoch, rate
        state.restore(good, learning_rate=rate)
        logger.info("%s: goes on after epoch %d of %d", name, epoch, epochs)
    written = time.monotonic()
    while epoch < epochs:
        epoch += 1
        used = rate
        if rate_factor:
            used = rate * rate_factor(epoch)
            state.set_rate(used)
        row = {"epoch": epoch, "attempt": attempt, "kept": 1, "learning_rate": used, **run_epoch(epoch)}
        rows.append(row)
        wrong, is_good = fault(row), epoch % GOOD_EVERY == 0 or epoch == epochs
        if is_good and not wrong:
            wrong = _not_finite(state) or (fault_of_state(epoch) if fault_of_state else "")
        if wrong:
            for taken_back in rows[_last_kept(rows, good_epoch) + 1 :]:
                taken_back["kept"] = 0
            events.append(f"rate {rate:g}: {wrong} in epoch {epoch}; back to {_state_name(good_epoch)}")
            logger.warning("%s: %s", name, events[-1])
            if attempt == MAX_RETRIES:
                state.restore(good, learning_rate=good_rate)
                events.append(f"training ended at {_state_name(good_epoch)} of {epochs} epochs, after three faults")
                return Trained(pd.DataFrame(rows), tuple(events), good_rate, False)
            attempt, rate, epoch = attempt + 1, rate / 10, good_epoch
            state.restore(good, learning_rate=rate)
        elif is_good:
            good, good_epoch, good_rate = state.copy(), epoch, rate
            if checkpoint and (time.monotonic() - written > SECONDS_BETWEEN_FILES or epoch == epochs):
                _write(
                    checkpoint, good, {"rows": rows, "events": events, "epoch": epoch, "attempt": attempt, "rate": rate}
                )
                written = time.monotonic()
    return Trained(pd.DataFrame(rows), tuple(events), rate, True)


def autocast(device: str, precision: str) -> AbstractContextManager:
    """bfloat16 for a network's passes on a CUDA device when ``precision`` says so; elsewhere nothing."""
    if precision == "bfloat16" and device.startswith("cuda"):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def checkpoint_of(params: JobParams, inputs: Iterable[str | Path], *, rule: str) -> Checkpoint:
    """The checkpoint of a rule's job, below the results: of its settings, its code and the bytes of its inputs."""
    content = {"config": dict(params.config), "code": params.code, "files": [checksum_of(path) for path in inputs]}
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return Checkpoint(Path(params.results) / "resume" / f"{rule}.safetensors", fingerprint)


def _last_kept(rows: list[dict[str, float]], good_epoch: int) -> int:
    """Where the last kept row of the good state stands; -1 for the start."""
    return max((i for i, row in enumerate(rows) if row["kept"] and row["epoch"] == good_epoch), default=-1)


def _not_finite(state: State) -> str:
    """The loss of an epoch's last step is that before it."""
    return "" if all(bool(torch.isfinite(p).all()) for p in state.parameters.values()) else "weights not finite"


def _state_name(epoch: int) -> str:
    return f"the state after epoch {epoch}" if epoch else "the start"


def _read(checkpoint: Checkpoint | None) -> tuple[dict[str, Tensor], dict] | None:
    if checkpoint is None or not checkpoint.file.exists():
        return None
    try:
        with safe_open(str(checkpoint.file), framework="pt") as stored:
            about = stored.metadata() or {}
            if about.get("fingerprint") != checkpoint.fingerprint:
                logger.info("%s is of other inputs or settings, and is not used", checkpoint.file.name)
                return None
            return {key: stored.get_tensor(key) for key in stored.keys()}, json.loads(about["progress"])  # noqa: SIM118
    except SafetensorError as error:
        logger.warning("%s cannot be read (%s), and is not used", checkpoint.file.name, error)
        return None


def _write(checkpoint: Checkpoint, tensors: dict[str, Tensor], progress: Mapping[str, object]) -> None:
    checkpoint.file.parent.mkdir(parents=True, exist_ok=True)
    temporary = checkpoint.file.with_name(f".part-{os.getpid()}-{checkpoint.file.name}")
    about = {"fingerprint": checkpoint.fingerprint, "progress": json.dumps(progress)}
    save_file(tensors, str(temporary), metadata=about)
    os.replace(temporary, checkpoint.file)
