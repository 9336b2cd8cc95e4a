"""The loop that all methods train with: same result after a kill, and back to the last good state after a fault."""

import json

import pandas as pd
import pytest
import torch

from lungtypes.methods.training import Checkpoint, State, checkpoint_of, train


class Killed(Exception):
    pass


class Line:
    """Fits a line by Adam on batches drawn from the epoch's number; may be killed, or poisoned, in an epoch."""

    def __init__(self, *, rate=0.1, kill=None, poison=None):
        self.weight = torch.nn.Parameter(torch.tensor([0.0, 0.0]))
        self.optimiser = torch.optim.Adam([self.weight], lr=rate)
        self.state = State({"weight": self.weight}, self.optimiser, {"seen": torch.zeros(1)})
        self.kill, self.poison = kill, poison

    def run_epoch(self, epoch):
        if epoch == self.kill:
            raise Killed
        x = torch.randn(16, generator=torch.Generator().manual_seed(epoch))
        loss = ((self.weight[0] * x + self.weight[1] - 2 * x - 1) ** 2).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.state.memory["seen"] += 1
        rate = self.optimiser.param_groups[0]["lr"]
        if self.poison and self.poison(epoch, rate):
            with torch.no_grad():
                self.weight.fill_(float("nan"))
        return {"loss": float(loss.detach()), "bad": float(self.weight.isnan().any())}

    def train(self, *, epochs=34, rate=0.1, checkpoint=None, **options):
        return train(
            self.state,
            epochs=epochs,
            learning_rate=rate,
            run_epoch=self.run_epoch,
            checkpoint=checkpoint,
            name="line",
            **{"fault": lambda row: "not finite" if row["bad"] else "", **options},
        )


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("lungtypes.methods.training.SECONDS_BETWEEN_FILES", 0.0)
    return Checkpoint(tmp_path / "resume" / "line.safetensors", "abc")


@pytest.mark.parametrize("kill", [5, 11, 27, 34])
def test_killed_training_ends_with_the_same_bytes(checkpoint, kill):
    whole = Line()
    expected = whole.train()
    with pytest.raises(Killed):
        Line(kill=kill).train(checkpoint=checkpoint)
    again = Line()
    found = again.train(checkpoint=checkpoint)
    assert again.weight.detach().numpy().tobytes() == whole.weight.detach().numpy().tobytes()
    assert again.state.memory["seen"] == 34
    pd.testing.assert_frame_equal(found.history, expected.history)


def test_killed_after_a_fault_keeps_the_lower_rate_and_the_events(checkpoint):
    poison = lambda epoch, rate: epoch == 14 and rate > 0.05  # noqa: E731
    whole = Line(poison=poison)
    expected = whole.train()
    with pytest.raises(Killed):
        Line(poison=poison, kill=25).train(checkpoint=checkpoint)
    again = Line(poison=poison)
    found = again.train(checkpoint=checkpoint)
    assert again.weight.tolist() == whole.weight.tolist()
    assert found.events == expected.events and found.learning_rate == pytest.approx(0.01)


def test_fault_returns_to_the_last_good_state_and_says_so():
    line = Line(poison=lambda epoch, rate: epoch == 14 and rate > 0.05)
    found = line.train()
    assert found.finished and line.weight.isfinite().all()
    assert found.events == ("rate 0.1: not finite in epoch 14; back to the state after epoch 10",)
    assert found.history.epoch.tolist() == [*range(1, 15), *range(11, 35)]
    assert found.history.attempt.tolist() == [0] * 14 + [1] * 24
    kept = found.history[found.history.kept == 1]
    assert kept.epoch.tolist() == list(range(1, 35)) and not kept.bad.any() and found.history.kept.sum() == 34


@pytest.mark.parametrize(("epoch", "back"), [(10, "the start"), (34, "the state after epoch 30")])
def test_weights_that_the_last_step_of_an_epoch_ruins_are_not_kept_as_good(epoch, back):
    line = Line(poison=lambda at, rate: at == epoch and rate > 0.05)
    found = line.train(fault=lambda row: "")  # the loss is that of before the step
    assert found.finished and line.weight.isfinite().all()
    assert found.events == (f"rate 0.1: weights not finite in epoch {epoch}; back to {back}",)


def test_a_state_that_is_finite_and_wrong_is_not_kept_as_good():
    line, asked = Line(), []

    def fault_of_state(epoch):
        asked.append(epoch)
        return "off the line" if len(asked) == 2 else ""

    found = line.train(fault_of_state=fault_of_state)
    assert found.events == ("rate 0.1: off the line in epoch 20; back to the state after epoch 10",)
    assert asked == [10, 20, 20, 30, 34] and found.finished


def test_third_fault_ends_at_the_last_good_state():
    line = Line(poison=lambda epoch, rate: epoch == 12)
    reference = Line()
    reference.train(epochs=10)
    found = line.train()
    assert not found.finished and line.weight.tolist() == reference.weight.tolist()
    assert len(found.events) == 4 and "ended at the state after epoch 10 of 34" in found.events[-1]
    assert found.learning_rate == pytest.approx(0.1) and found.history.kept.sum() == 10  # of the state that holds
    assert found.history[found.history.kept == 1].epoch.tolist() == list(range(1, 11))


def test_checkpoint_of_other_inputs_is_not_used(checkpoint):
    Line().train(epochs=10, checkpoint=checkpoint)
    other = Line()
    found = other.train(epochs=12, checkpoint=Checkpoint(checkpoint.file, "other"))
    assert found.history.epoch.tolist() == list(range(1, 13))


def test_broken_checkpoint_is_not_used(checkpoint):
    checkpoint.file.parent.mkdir()
    checkpoint.file.write_bytes(b"half a file")
    assert len(Line().train(epochs=3, checkpoint=checkpoint).history) == 3


def test_finished_training_does_not_run_again(checkpoint):
    Line().train(epochs=7, checkpoint=checkpoint)
    again = Line(kill=1)
    assert len(again.train(epochs=7, checkpoint=checkpoint).history) == 7


def test_fingerprint_sees_config_code_and_bytes(tmp_path):
    (tmp_path / "array").write_bytes(b"1")

    class Params:
        results, config, code = str(tmp_path), {"seed": 1}, "x"

    def mark(config, code):
        Params.config, Params.code = config, code
        return checkpoint_of(Params, [tmp_path / "array"], rule="fit").fingerprint

    marks = [mark({"seed": 1}, "x"), mark({"seed": 2}, "x"), mark({"seed": 1}, "y")]
    (tmp_path / "array").write_bytes(b"2")
    marks.append(mark({"seed": 1}, "x"))
    assert len(set(marks)) == 4
    assert json.dumps(marks[0]).isascii()
