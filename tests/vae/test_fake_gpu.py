"""On a GPU that is not there: torch's fake tensors have its device and no values.

So a tensor on the wrong device raises, and so does whatever reads a value; all else is only counted.
"""

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rdbench.errors import CaptureFailed, NotCapturable
from rdbench.registry import variants
from rdbench.registry.source import shipped
from rdbench.spec.sweep import VariantSpec
from rdbench.vae import batches, cuda_graph, evaluation, failed_captures, models, training
from rdbench.vae.evaluation import measure_splits
from rdbench.vae.training import train
from rdbench.variants.multi_rate import MultiRate
from rdbench.variants.two_stage import TwoStage

# Once a process; torch.cat of fake tensors is the cause.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
GPU = torch.device("cuda:0")
TRAINED = sorted(name for name in shipped() if name != "codec" and not variants.declared(name).closed_form)


def devices(of):
    return {leaf.device.type for leaf in tree_leaves(of) if isinstance(leaf, torch.Tensor)}


class Reads(TorchDispatchMode):
    """Counts copies from the device to the host."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = devices((args, kwargs))
        if function.overloadpacket is torch.ops.aten._fused_adamw_:  # fake tensors do not know it
            assert given == {"cuda"}
            return None
        result = function(*args, **(kwargs or {}))
        made = devices(result)
        self.count += "cuda" in given and "cpu" in made
        return result


@dataclasses.dataclass
class Machine:
    """What torch was asked to do."""

    reads: Reads
    streams: list  # that were made
    work: list  # (stream, number of the member) of each step, and what waits for what
    captures: int = 0
    capturable: set = dataclasses.field(default_factory=set)  # of the optimizers that took a step


def _moved(module, device=None, memory_format=None):
    """nn.Module.to for fake parameters, which torch cannot swap."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(
                    _placed(value.detach(), device), value.requires_grad
                )
        for name, value in part._buffers.items():
            part._buffers[name] = value if value is None else _placed(value, device)
    return module


def _placed(value, device):
    order = torch.channels_last if value.dim() == 4 else torch.preserve_format
    return value.to(device).contiguous(memory_format=order) if value.dim() == 4 else value.to(device)


class Stream:
    def __init__(self, machine, name):
        self.machine, self.name = machine, name

    def wait_stream(self, other):
        self.machine.work.append((self.name, "waits for", other.name))


@torch.no_grad()
def _backward(loss):
    """Tensor.backward, node by node: torch's own engine asks the GPU's driver for a stream."""
    order, seen = [], set()

    def visit(node):
        if node is not None and node not in seen:
            seen.add(node)
            for following, _ in node.next_functions:
                visit(following)
            order.append(node)

    visit(loss.grad_fn)
    gradients = {(loss.grad_fn, 0): torch.ones_like(loss)}
    for node in reversed(order):
        given = [gradients.pop((node, place), None) for place in range(len(node._input_metadata))]
        if all(gradient is None for gradient in given):
            continue
        results = node(*given)
        for (following, place), gradient in zip(
            node.next_functions, results if isinstance(results, tuple) else (results,), strict=False
        ):
            if following is not None and gradient is not None:
                wanted = following._input_metadata[
                    place
                ]  # the engine sums over what was broadcast, and casts
                gradient = gradient.sum_to_size(wanted.shape).to(wanted.dtype)
                known = gradients.get((following, place))
                gradients[following, place] = gradient if known is None else known + gradient


class Host(np.ndarray):
    """Values of a tensor, once they were read."""

    def numpy(self):
        return np.array(self)


class OnHost(torch.Generator):
    """A generator of the host's that names the device that was asked for: it draws no values anyway."""

    device = None

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.device = torch.device(device)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    machine = Machine(Reads(), [], [])
    now = [Stream(machine, "main")]

    def make(device):
        machine.streams.append(Stream(machine, f"lane {len(machine.streams)}"))
        return machine.streams[-1]

    @contextlib.contextmanager
    def stream(other):
        now.append(other)
        yield
        now.pop()

    def captured(step, device, refused):
        machine.captures += 1
        return step

    def on_host(values):
        machine.reads.count += 1
        return np.ones(values.shape).view(Host)

    step = training._Member.step

    def noted(member, images, noise):
        machine.work.append((now[-1].name, "steps", member.beta))
        step(member, images, noise)
        (group,) = member.optimizer.param_groups
        assert group["lr"].device == GPU
        machine.capturable.add(group["capturable"])

    for what, value in {
        "Generator": OnHost,
        "cuda.get_device_name": lambda device: "a GPU",
        "cuda.mem_get_info": lambda device: (2**30, 2**30),
        "cuda.Stream": make,
        "cuda.stream": stream,
        "cuda.current_stream": lambda: now[-1],
        "cuda.amp.common.amp_definitely_not_available": lambda: False,
        "cuda.is_bf16_supported": lambda: True,
        "nn.Module.to": _moved,
        "Tensor.backward": _backward,
    }.items():
        monkeypatch.setattr(f"torch.{what}", value)
    monkeypatch.setattr(training._Member, "step", noted)
    monkeypatch.setattr(training, "Captured", captured)
    for module in (training, evaluation, batches):
        monkeypatch.setattr(module, "on_host", on_host)
    with FakeTensorMode(allow_non_fake_inputs=True), machine.reads:
        yield machine


def built(trial, data):
    about = models.about(trial, data.shape, len(data.train.images))
    with unset_fake_temporarily():
        if trial.variant.name == "multi_rate":
            model = MultiRate(about, (0.1, 1.0), torch.Generator(), root=False)
            model.before_step = lambda: model.set_beta(-1.0)  # a number cannot be drawn here
            return model
        if trial.variant.name == "two_stage":
            return TwoStage(about, 8)
        return models.build(trial, data.shape, len(data.train.images))


def of(trial, name, **update):
    recipe = trial.train.model_copy(update={key: update.pop(key) for key in ("precision",) if key in update})
    return trial.model_copy(update={"variant": VariantSpec(name=name), "train": recipe, **update})


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", TRAINED)
def test_all_of_a_trial_stays_on_the_gpu_but_for_one_reading_an_epoch(trial, data, gpu, name, precision):
    trial = of(trial, name, precision=precision, protocol="paper")
    data = dataclasses.replace(data, augmentation="rotate_crop")
    model, epochs = built(trial, data), []
    assert train([model], [trial], data, GPU, lambda member, epoch: epochs.append(epoch)) == [None]
    assert len(epochs) == 2
    assert gpu.reads.count == 2
    assert gpu.captures == 1
    assert gpu.capturable == {True}
    assert {value.device for value in model.state_dict().values() if isinstance(value, torch.Tensor)} >= {GPU}
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert gpu.streams == []
    measured = measure_splits(model, trial, data, GPU)
    quantities = sum(value is not None for value in dataclasses.astuple(measured["test"]))
    assert gpu.reads.count == 2 + 2 * quantities  # each is read once, of either split


@pytest.mark.parametrize("clean", [True, False])
def test_the_images_of_a_split_are_uploaded_once(trial, data, gpu, monkeypatch, clean):
    uploads, tensor = [], torch.tensor

    def upload(values, **options):
        uploads.append(values) if getattr(values, "ndim", 0) == 4 else None
        return tensor(values, **options)

    monkeypatch.setattr(torch, "tensor", upload)
    trial = of(trial, "bs_vae", protocol="clean" if clean else "paper")
    for _ in range(2):  # trials of one worker
        model = built(trial, data)
        train([model], [trial], data, GPU)
        assert (measure_splits(model, trial, data, GPU)["test"].binned is not None) == clean
        with contextlib.suppress(AttributeError):  # pictures are encoded by torch
            evaluation.picture_rows(model, trial, data, GPU)
    assert len(uploads) == 2


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_members_of_a_pack_are_dealt_round_the_lanes_and_read_together(trial, data, gpu, precision):
    names = ["bs_vae", "student_t", "geco", "beta_tc", "vamp_prior", "sigma_vae_optimal"]
    pack = [
        of(trial, name, precision=precision, beta=float(k), seed=k % 2) for k, name in enumerate(names, 1)
    ]
    assert train([built(one, data) for one in pack], pack, data, GPU) == [None] * 6
    assert gpu.reads.count == 2
    assert gpu.captures == 1
    names = [stream.name for stream in gpu.streams]
    assert len(names) == cuda_graph.LANES
    fork = [(lane, "waits for", "main") for lane in names]
    steps = [(names[k % cuda_graph.LANES], "steps", float(k + 1)) for k in range(6)]
    join = [("main", "waits for", lane) for lane in names]
    assert gpu.work == [*fork, *steps, *join] * 8  # two epochs of four steps


def test_a_model_that_does_not_say_that_it_can_be_captured_is_not(trial, data, gpu):
    model = built(of(trial, "sigma_vae"), data)
    model.capturable = False
    train([model], [trial], data, GPU)
    assert gpu.captures == 0
    assert gpu.capturable == {False}


def refusing(monkeypatch):
    """Have the third step tell that it cannot be captured."""

    def captured(step, device, refused):
        calls = itertools.count(1)
        return lambda *inputs: (step(*inputs), refused("it waits") if next(calls) == 3 else None)

    monkeypatch.setattr(training, "Captured", captured)


def test_a_trial_whose_capture_is_refused_goes_on_by_itself(trial, data, gpu, monkeypatch):
    refusing(monkeypatch)
    trial = of(trial, "sigma_vae")
    with pytest.warns(UserWarning, match="training without a CUDA graph: it waits"):
        train([built(trial, data)], [trial], data, GPU)
    assert len(gpu.work) == 8
    assert gpu.capturable == {True, False}


def test_a_pack_whose_capture_is_refused_is_for_its_trials_alone(trial, data, gpu, monkeypatch):
    refusing(monkeypatch)
    pack = [of(trial, "sigma_vae", beta=beta) for beta in (1.0, 2.0)]
    with pytest.raises(NotCapturable, match="cannot be captured together: it waits"):
        train([built(one, data) for one in pack], pack, data, GPU)


def breaking(monkeypatch):
    """Have the recording of a step break off; return how often it was tried."""
    tried = []

    def captured(step, device, refused):
        def launch(*inputs):
            tried.append(device)
            raise CaptureFailed("operation not permitted when stream is capturing")

        return launch

    monkeypatch.setattr(training, "Captured", captured)
    return tried


def test_what_could_not_be_recorded_once_trains_without_a_graph_from_then_on(trial, data, gpu, monkeypatch):
    tried, trial = breaking(monkeypatch), of(trial, "sigma_vae")
    with pytest.raises(CaptureFailed, match=r"not permitted.*to try again delete .*failed_captures\.json"):
        train([built(trial, data)], [trial], data, GPU)
    # In another process, which knows nothing but the file: other betas and seeds, too.
    again = trial.model_copy(update={"beta": 7.0, "seed": 3})
    with pytest.warns(UserWarning, match="without a CUDA graph: operation not permitted"):
        assert train([built(again, data)], [again], data, GPU) == [None]
    assert len(tried) == 1
    assert gpu.capturable == {False}


def test_other_variants_and_networks_are_recorded_nevertheless(trial, data, gpu, monkeypatch):
    tried, trial = breaking(monkeypatch), of(trial, "sigma_vae")
    wider = trial.model_copy(update={"model": trial.model.model_copy(update={"latent": 3})})
    for one in (trial, of(trial, "geco"), wider, of(trial, "sigma_vae", precision="bf16")):
        with pytest.raises(CaptureFailed):
            train([built(one, data)], [one], data, GPU)
    assert len(tried) == 4


def test_a_pack_that_could_not_be_recorded_is_for_its_trials_alone(trial, data, gpu, monkeypatch):
    """Each of them is then recorded: the pack's verdict is none of theirs."""
    tried = breaking(monkeypatch)
    pack = [of(trial, name) for name in ("bs_vae", "sigma_vae")]
    with pytest.raises(CaptureFailed):
        train([built(one, data) for one in pack], pack, data, GPU)
    with pytest.raises(NotCapturable, match="cannot be captured together"):
        train([built(one, data) for one in pack], pack, data, GPU)
    assert len(tried) == 1
    for number, one in enumerate(pack, 2):
        with pytest.raises(CaptureFailed):
            train([built(one, data)], [one], data, GPU)
        with pytest.warns(UserWarning, match="without a CUDA graph"):
            assert train([built(one, data)], [one], data, GPU) == [None]
        assert len(tried) == number
    others = [of(trial, name) for name in ("geco", "student_t")]
    with pytest.raises(CaptureFailed):  # they are tried
        train([built(one, data) for one in others], others, data, GPU)


def test_what_could_not_be_recorded_alone_is_for_no_pack(trial, data, gpu, monkeypatch):
    tried, one = breaking(monkeypatch), of(trial, "sigma_vae")
    with pytest.raises(CaptureFailed):
        train([built(one, data)], [one], data, GPU)
    pack = [of(trial, "geco"), one]
    with pytest.raises(NotCapturable, match="cannot be captured together"):
        train([built(one, data) for one in pack], pack, data, GPU)
    assert len(tried) == 1


def test_a_verdict_that_cannot_be_written_is_this_processs(trial, data, gpu, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("where a folder is needed")
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(failed_captures, "_of_this_process", {})
    tried, one = breaking(monkeypatch), of(trial, "sigma_vae")
    with pytest.raises(NotCapturable, match=r"not permitted.*in this process.*cannot be written") as error:
        train([built(one, data)], [one], data, GPU)
    assert not isinstance(error.value, CaptureFailed)  # which another process would answer, and not know
    with pytest.warns(UserWarning, match="without a CUDA graph: operation not permitted"):
        assert train([built(one, data)], [one], data, GPU) == [None]
    assert len(tried) == 1
