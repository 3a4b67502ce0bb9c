"""A training that was interrupted goes on bit for bit, from a checkpoint that is whole, or begins again."""

import dataclasses
import weakref

import pytest
import torch

from rdbench.commands import new
from rdbench.errors import StorageError
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.storage import places
from rdbench.trial.run import run_pack
from rdbench.vae import checkpoints as resume
from rdbench.vae import tensor_file, training
from rdbench.vae.checkpoints import Checkpointer, Keeping, Stopped, interrupted, tidy

CPU = torch.device("cpu")
TIMES = ("seconds", "images_per_second", "started", "peak_memory_bytes")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


def trials_of(sweep_file, *changes):
    return list(plan(load_sweep(sweep_file, ["train.epochs=4", "beta=[0.1,1]", *changes])).trials)


def stops_after(checkpoints):
    """The user asks to stop at the end of the n-th epoch from now."""
    left = iter([False] * (checkpoints - 1) + [True])
    return lambda: next(left, True)


def figures(tables):
    """Every row of every table, without what measures time."""
    return [
        {
            name: [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
            for name, rows in one.items()
        }
        for one in tables
    ]


def run_with_stops(pack, data, root, epochs_between, minutes=0.0, **more):
    """Run a pack, interrupted after every few epochs, each attempt with a checkpointer of its own."""
    attempts = 0
    while True:
        attempts += 1
        checkpointer = Checkpointer(
            Keeping(root, minutes=minutes, stop=stops_after(epochs_between)), pack, CPU
        )
        try:
            return run_pack(pack, data, CPU, checkpointer=checkpointer, **more), attempts
        except Stopped:
            assert attempts < 200


@pytest.mark.parametrize("augmentation", ["none", "rotate_crop"])
def test_an_interrupted_pack_ends_as_if_it_had_never_stopped(sweep_file, data, root, augmentation):
    pack = trials_of(sweep_file, "seeds=2")[:6]
    data = dataclasses.replace(data, augmentation=augmentation)
    resumed, attempts = run_with_stops(pack, data, root, 1)
    assert attempts == 5  # four epochs, then the evaluation
    assert figures(resumed) == figures(run_pack(pack, data, CPU))


@pytest.mark.parametrize("name", ["geco", "sigma_vae", "learned_variance", "vamp_prior", "multi_rate"])
def test_an_interrupted_variant_ends_as_if_it_had_never_stopped(sweep_file, data, root, name):
    """geco's multiplier and every BatchNorm's statistics are state too; multi_rate draws its own betas."""
    pack = trials_of(sweep_file, f"variants=[{name}]")[:1]
    resumed, attempts = run_with_stops(pack, data, root, 3)
    assert attempts == 2
    assert figures(resumed) == figures(run_pack(pack, data, CPU))


@pytest.mark.parametrize("minutes", [0, None])  # at every epoch, or when stopped and only then
def test_a_trial_function_of_two_trainings_goes_on_in_the_second(sweep_file, data, root, minutes):
    pack = trials_of(sweep_file, "variants=[{name: two_stage, second_epochs: 5, width: 8}]")[:1]
    resumed, attempts = run_with_stops(pack, data, root, 3, minutes)
    assert attempts == 4  # 4 + 5 turns, three at a time, then the evaluation
    assert figures(resumed) == figures(run_pack(pack, data, CPU))


def test_the_starting_point_of_a_trial_function_goes_on_too(sweep_file, data, root, tmp_path):
    new.write(tmp_path / "my_vae.py", "trial")
    pack = trials_of(sweep_file, f"variants=['{tmp_path}/my_vae.py:my_vae']")[:1]
    resumed, attempts = run_with_stops(pack, data, root, 1)
    assert attempts == 5
    assert figures(resumed) == figures(run_pack(pack, data, CPU))


DRAWS = '''
import torch, rdbench

@rdbench.variant("draws", native="half")
class Draws(rdbench.Model):
    """Draws from torch's own generator as it trains."""

    def sample(self, posterior, noise):
        return super().sample(posterior, noise) + 0.1 * torch.randn(noise.shape)
'''


UNUSUAL = '''
import numpy as np, torch, rdbench

@rdbench.variant("unusual", native="half")
class Unusual(rdbench.Model):
    """Weights that lie in memory in an order of their own, as factors of a matrix do."""

    def __init__(self, about):
        super().__init__(about)
        self.turn = torch.nn.Parameter(torch.linalg.qr(torch.randn(about.latent, about.latent))[0])

    def decode(self, latents):
        return super().decode(latents @ self.turn)

@rdbench.variant("broken_off", native="half")
def broken_off(trial, data):
    """Two loops, the first of which its author ends early; and a figure that is no plain float."""
    model = rdbench.Model(trial.about(data)).to(trial.device)
    optimizer = torch.optim.AdamW(model.parameters())
    for turn in trial.resumable(9, [model, optimizer]):
        if turn == 1:
            break
    trial.fit(model, data)
    return rdbench.TrialResult(model)

@rdbench.variant("unkept", native="half")
def unkept(trial, data):
    """What it wants kept is no state of torch's."""
    model = rdbench.Model(trial.about(data)).to(trial.device)

    class Odd:
        def state_dict(self):
            return {"it": object()}

        def load_state_dict(self, state):
            raise AssertionError("nothing was kept")

    for batches in trial.epochs(data, keep=[model, Odd()]):
        for images, noise in batches:
            model(images, noise)
    return rdbench.TrialResult(model)
'''


def test_weights_that_lie_in_memory_otherwise_go_on_too(sweep_file, data, root, tmp_path):
    (tmp_path / "unusual.py").write_text(UNUSUAL)
    pack = trials_of(sweep_file, f"variants=['{tmp_path}/unusual.py:Unusual']")[:1]
    resumed, attempts = run_with_stops(pack, data, root, 2)
    assert attempts == 3
    assert figures(resumed) == figures(run_pack(pack, data, CPU))


@pytest.mark.parametrize("name", ["broken_off", "unkept"])
def test_what_cannot_be_kept_runs_to_its_end(sweep_file, data, root, tmp_path, name):
    (tmp_path / "unusual.py").write_text(UNUSUAL)
    pack = trials_of(sweep_file, f"variants=['{tmp_path}/unusual.py:{name}']")[:1]
    asked = iter([False, True])  # in the second turn, or epoch
    checkpointer = Checkpointer(Keeping(root, minutes=0, stop=lambda: next(asked, True)), pack, CPU)
    kept = run_pack(pack, data, CPU, checkpointer=checkpointer)
    assert figures(kept) == figures(run_pack(pack, data, CPU))


def test_torchs_own_generator_goes_on_where_it_was(sweep_file, data, root, tmp_path):
    (tmp_path / "draws.py").write_text(DRAWS)
    pack = trials_of(sweep_file, f"variants=['{tmp_path}/draws.py:Draws']")[:1]
    resumed, _ = run_with_stops(pack, data, root, 2)
    assert figures(resumed) == figures(run_pack(pack, data, CPU))


def test_a_state_is_read_on_the_host_and_copied_to_the_gpu_once(sweep_file, data, root, monkeypatch):
    """By the modules and optimizers that take it; else it lay there twice for as long as the trial runs."""
    pack, read = trials_of(sweep_file)[:1], []
    stop_once(pack, data, root, 1)
    decode = tensor_file.decode
    monkeypatch.setattr(
        tensor_file, "decode", lambda content, device: read.append(device) or decode(content, device)
    )
    Checkpointer(Keeping(root), pack, torch.device("cuda"))
    assert read == [CPU]


def test_what_was_copied_into_the_models_is_not_held_while_they_train(sweep_file, data, root, monkeypatch):
    pack = trials_of(sweep_file)[:2]
    stop_once(pack, data, root, 1)
    read, step, alive = [], training._Member.step, set()
    decode = tensor_file.decode

    def noted(*given):
        of, state = decode(*given)
        for name, part in state["stages"][0]["parts"].items():
            if name.startswith("network"):
                read.extend(weakref.ref(value) for value in part.values())
        return of, state

    def watched(*given):
        alive.add(any(value() is not None for value in read))
        step(*given)

    monkeypatch.setattr(tensor_file, "decode", noted)
    monkeypatch.setattr(training._Member, "step", watched)
    run_pack(pack, data, CPU, checkpointer=Checkpointer(Keeping(root), pack, CPU))
    assert len(read) > 50
    assert alive == {False}


def test_a_member_that_diverged_before_stays_so(sweep_file, data, root):
    pack = trials_of(sweep_file, "variants=[bs_vae]", "beta=[1, 1e8]", "train.lr=10")
    resumed, _ = run_with_stops(pack, data, root, 1)
    alone = run_pack(pack, data, CPU)
    assert "diverged" in {one["trials"][0]["status"] for one in alone}
    assert figures(resumed) == figures(alone)


def test_the_time_of_all_attempts_counts(trial, data, root):
    kept = Checkpointer(Keeping(root, minutes=0, stop=stops_after(1)), [trial], CPU)
    kept.seconds = 1000.0
    with pytest.raises(Stopped):
        run_pack([trial], data, CPU, checkpointer=kept)
    (tables,) = run_pack([trial], data, CPU, checkpointer=Checkpointer(Keeping(root), [trial], CPU))
    assert 1000 < tables["trials"][0]["seconds"] < 1100


def files(root):
    return sorted(places.entries(root / "resume"))


def stop_once(pack, data, root, epochs, **more):
    with pytest.raises(Stopped):
        run_pack(
            pack,
            data,
            CPU,
            checkpointer=Checkpointer(Keeping(root, minutes=0, stop=stops_after(epochs)), pack, CPU),
            **more,
        )


def test_two_checkpoints_are_kept_and_none_of_a_trial_that_is_committed(sweep_file, data, root):
    (first, second, *_) = trials_of(sweep_file)
    stop_once([first], data, root, 3)
    stop_once([second], data, root, 1)
    assert [name.rsplit("-", 1)[0] for name in files(root)] == sorted(
        [f"{first.id}-000002", f"{first.id}-000003", f"{second.id}-000001"]
    )
    resume.discard(root, [first.id])
    assert [name.split("-")[0] for name in files(root)] == [second.id]
    tidy(root, [first.id])
    assert files(root)
    tidy(root, [first.id, second.id])
    assert not files(root)


def epochs_done(pack, root, **more):
    """How many epochs a new attempt would not train again."""
    return len(Checkpointer(Keeping(root, **more), pack, CPU).history[0])


def test_a_damaged_checkpoint_is_never_gone_on_from(trial, data, root, caplog):
    trial = trial.model_copy(update={"train": trial.train.model_copy(update={"epochs": 4})})
    stop_once([trial], data, root, 3)
    assert epochs_done([trial], root) == 3
    older, newer = (root / "resume" / name for name in files(root))
    content = bytearray(newer.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, in the middle of the weights
    newer.write_bytes(content)
    assert epochs_done([trial], root) == 2
    assert "its digest differs" in caplog.text
    older.write_bytes(older.read_bytes()[:-10])
    assert epochs_done([trial], root) == 0
    stop_once([trial], data, root, 1)  # and the next one is written beside them
    assert epochs_done([trial], root) == 1


def test_a_checkpoint_of_other_data_versions_or_trials_is_none(sweep_file, data, root, monkeypatch):
    pack = trials_of(sweep_file)
    stop_once(pack, data, root, 1)
    assert epochs_done(pack, root) == 1
    assert epochs_done(pack, root, data_checksum="other") == 0
    assert epochs_done(pack[:2], root) == 0
    assert epochs_done(pack[::-1], root) == 0
    monkeypatch.setattr(resume.machine, "versions", lambda: {"torch": "0", "rdbench": "0"})
    assert epochs_done(pack, root) == 0


def test_packs_that_were_interrupted_are_known_by_their_trials(sweep_file, data, root):
    pack = trials_of(sweep_file)
    assert interrupted(root) == []
    stop_once(pack[:3], data, root, 1)
    stop_once(pack[3:], data, root, 1)
    assert sorted(interrupted(root)) == sorted([tuple(t.id for t in pack[:3]), (pack[3].id,)])


def test_what_else_lies_beside_checkpoints_is_none(trial, data, root):
    stop_once([trial], data, root, 1)
    (name,) = files(root)
    for other in (f"{trial.id}-copy.safetensors", f"{trial.id}.safetensors", "-.safetensors", "x.json"):
        (root / "resume" / other).write_bytes(b"5")
    for text in ("5", "[5]", '["0123"]', "{"):
        (root / "resume" / f"{trial.id}.json").write_text(text)
        assert interrupted(root) in ([(trial.id,)], [])
    (root / "resume" / f"{trial.id}.json").unlink()
    assert interrupted(root) == [(trial.id,)]
    assert epochs_done([trial], root) == 1
    assert resume.discard(root, [trial.id])
    assert name not in files(root)
    assert not resume.discard(root, [trial.id])


def test_storage_that_fails_for_a_while_costs_checkpoints_alone(trial, data, root, monkeypatch, caplog):
    def full(*arguments):
        raise StorageError("disk full")

    monkeypatch.setattr(places, "write_atomically", full)
    (tables,) = run_pack(
        [trial], data, CPU, checkpointer=Checkpointer(Keeping(root, minutes=0), [trial], CPU)
    )
    assert tables["trials"][0]["status"] == "done"
    assert "no checkpoint: disk full" in caplog.text
    with pytest.raises(StorageError):  # who asks to stop is told that it is not kept
        run_pack(
            [trial],
            data,
            CPU,
            checkpointer=Checkpointer(Keeping(root, minutes=0, stop=stops_after(1)), [trial], CPU),
        )


def test_the_checkpoint_of_a_pack_goes_when_all_its_trials_are_done(sweep_file, data, root):
    pack = trials_of(sweep_file)[:2]
    stop_once(pack, data, root, 1)
    tidy(root, [pack[0].id])
    assert len(interrupted(root)) == 1
    tidy(root, [trial.id for trial in pack])
    assert files(root) == []


def test_a_checkpoint_is_written_as_often_as_it_costs_little(sweep_file, data, root, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    (trial, *_) = trials_of(sweep_file)

    def written(minutes, seconds_an_epoch, epochs, cost):
        checkpointer, times = Checkpointer(Keeping(root, minutes=minutes), [trial], CPU), []

        def write(*arguments):
            times.append(epoch)
            now[0] += cost

        monkeypatch.setattr(checkpointer, "_write", write)
        stage = checkpointer.stage()
        stage.begin({})
        for epoch in range(1, epochs + 1):
            now[0] += seconds_an_epoch
            stage.ended(epoch)
        return times

    assert written(None, 0.5, 8, cost=0.01) == []  # a trial of seconds writes nothing
    assert written(None, 6, 4, cost=0.01) == [1, 2, 3, 4]
    assert written(None, 6, 6, cost=0.15) == [1, 4]  # 0.15 s at most every 15 s
    assert written(2, 60, 6, cost=0.01) == [2, 4, 6]
    assert written(0, 0.5, 3, cost=10) == [1, 2, 3]


def test_a_loop_that_its_author_broke_off_is_not_gone_on_from(trial, data, root):
    checkpointer = Checkpointer(Keeping(root, minutes=0), [trial], CPU)
    first, weights = checkpointer.stage(), torch.nn.Linear(1, 1)
    first.begin({"w": weights})
    second = checkpointer.stage()
    second.begin({"w": weights})
    second.ended(1)  # the first never told its end
    assert files(root) == []


def test_what_is_kept_comes_back_as_it_was():
    image = torch.randn(2, 4, 3, 5).permute(3, 1, 0, 2)  # lies in memory as nothing else does
    order = sorted(range(4), key=image.stride)
    state = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": image}},
        "betas": (0.9, 0.999),
        "x": [None, True],
    }
    state |= {"loss": float("inf"), "bytes": torch.arange(5, dtype=torch.uint8), "exact": 0.1 + 0.2}
    of, back = tensor_file.decode(tensor_file.encode({"trials": ["a"]}, state), CPU)
    assert of == {"trials": ["a"]}
    order = sorted(range(4), key=image.stride)
    assert sorted(range(4), key=back["state"][0]["exp_avg"].stride) == order
    assert torch.equal(back["state"][0].pop("exp_avg"), state["state"][0].pop("exp_avg"))
    assert back.pop("bytes").tolist() == state.pop("bytes").tolist()
    assert back == state


def test_what_is_neither_number_text_nor_tensor_is_refused():
    with pytest.raises(TypeError, match="a object cannot be kept"):
        tensor_file.encode({}, {"it": object()})


def test_nothing_is_kept_without_a_folder(trial, data):
    run_pack([trial], data, CPU, checkpointer=Checkpointer(None, [trial], CPU))
    assert Checkpointer(None, [trial], CPU).history == [[]]
