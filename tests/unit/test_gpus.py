"""Which graphics card a job takes where a machine has several. No card is needed: the lock files are what is tested."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lungtypes import gpus
from lungtypes.device import choose_device

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lungtypes.gpus import take_card
print(take_card(sys.argv[3].split(","), folder=Path(sys.argv[2])), flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    """Start processes that take a card and hold it."""
    started = []

    def one(cards="0,1"):
        command = [sys.executable, "-c", HOLDER, str(SCRIPTS), str(tmp_path / "locks"), cards]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.wait()


def card_of(process):
    return int(process.stdout.readline())


def test_jobs_at_once_have_distinct_cards_and_the_third_waits_until_one_is_killed(start):
    first, second = start(), start()
    taken = [card_of(first), card_of(second)]
    assert sorted(taken) == [0, 1]
    third = start()
    os.set_blocking(third.stdout.fileno(), False)
    time.sleep(2.0)
    assert third.stdout.readline() == ""
    second.kill()
    end = time.monotonic() + 20
    while not (line := third.stdout.readline()) and time.monotonic() < end:
        time.sleep(0.1)
    assert int(line) == taken[1]


def test_cards_are_known_by_the_names_that_the_user_gave_them(start, monkeypatch):
    """Card 3 is the second of "2,3" and the first of "3,4": the lock belongs to the card, not to its position."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert gpus.visible_cards(2) == ["2", "3"]
    assert card_of(start("2,3")) == 0
    assert card_of(start("2,3")) == 1
    assert card_of(start("3,4")) == 1


@pytest.mark.parametrize(("named", "count"), [("", 2), ("0,1,7", 2)])
def test_cards_without_usable_names_are_numbered(monkeypatch, named, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible_cards(count) == ["0", "1"]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A fake machine with some cards; returns the list of those that were made the current one."""
    torch = pytest.importorskip("torch")
    chosen = []
    monkeypatch.setattr(gpus, "_held", {})
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)

    def with_cards(count, visible=None):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        return chosen

    return with_cards


def test_device_is_chosen_among_several_and_once(machine):
    chosen = machine(2)
    assert choose_device("auto") == "cuda" and chosen == [0]
    assert choose_device("cuda") == "cuda" and chosen == [0, 0]


@pytest.mark.parametrize(("count", "visible", "expected"), [(1, None, "cuda"), (1, "5", "cuda"), (0, None, "cpu")])
def test_nothing_is_locked_where_there_is_one_card_or_a_scheduler_gave_one(machine, tmp_path, count, visible, expected):
    chosen = machine(count, visible)
    assert choose_device("auto") == expected
    assert chosen == [] and not list(tmp_path.iterdir())


def test_cpu_takes_no_card(machine, tmp_path):
    chosen = machine(2)
    assert choose_device("cpu") == "cpu" and chosen == [] and not list(tmp_path.iterdir())
