"""Feature networks: clean-fid's numbers without its files, the published weights, one reference for all."""

import dataclasses
import hashlib
import itertools
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cleanfid.features
import cleanfid.fid
import cleanfid.inception_pytorch
import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import nn

from rdbench.errors import UserError
from rdbench.metrics.base import TrainedModel
from rdbench.metrics.features import Features, inception, reference, samples, weights
from rdbench.metrics.features.weights import Published, WeightsError
from rdbench.numerics.frechet import frechet_distance
from rdbench.storage import paths
from rdbench.storage.cache import CacheError, make_once

CPU = torch.device("cpu")
SHAPE, LATENT, SEED = (1, 8, 8), 3, 5


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class StandIn(nn.Module):
    """A network with the interface of the published TorchScript file."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, size, 23, stride=23), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, x):
        return self.layers(x)


def stand_in(path: Path, size: int) -> Path:
    """Write a stand-in with as many features to a file."""
    with torch.random.fork_rng([]), warnings.catch_warnings():
        torch.manual_seed(1)
        warnings.filterwarnings("ignore", ".*torch.jit", FutureWarning)
        torch.jit.script(StandIn(size)).save(str(path))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Features:
    """Features of a stand-in, 16 numbers an image."""
    return inception.load("clean", stand_in(tmp_path / "small.pt", 16), CPU)


def trained(channels: int = 1, **changes) -> TrainedModel:
    """A model whose images lie partly outside of [0, 1]."""
    shape = (channels, 8, 8)
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(LATENT, 64 * channels, generator=random)
    tests = torch.rand(1203, *shape, generator=random)
    model = TrainedModel(
        encode=lambda x: (x.flatten(1)[:, :LATENT], x.flatten(1)[:, LATENT : 2 * LATENT] - 2),
        decode=lambda z: (z @ matrix).reshape(-1, *shape) * 0.3 + 0.5,
        latent=LATENT,
        data=None,
        test_images=lambda index: tests[index],
        n_test=len(tests),
        test_sse=np.ones(len(tests)),
        beta=1.0,
        seed=SEED,
        protocol="clean",
        device=CPU,
    )
    return dataclasses.replace(model, **changes)


def pixels(count: int, channels: int, seed: int = 0, side: int = 11) -> np.ndarray:
    shape = (count, channels, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_pngs(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(picture).save(folder / f"{index:05}.png")
    return folder


def features_of_folder(folder: Path, model, mode: str) -> np.ndarray:
    """What clean-fid itself extracts from the files."""
    with warnings.catch_warnings():  # it turns warnings off for the whole process
        return cleanfid.fid.get_folder_features(
            str(folder), model, num_workers=0, batch_size=4, device=CPU, mode=mode, verbose=False
        )


# Inception


@pytest.mark.parametrize("channels", [1, 3])
def test_clean_features_are_what_clean_fid_extracts_from_files(channels, tmp_path):
    file = stand_in(tmp_path / "inception-2015-12-05.pt", 2048)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = InceptionV3W(str(tmp_path), download=False)
    images = pixels(5, channels)
    expected = features_of_folder(save_pngs(tmp_path / "png", images), theirs, "clean")
    ours = inception.load("clean", file, CPU)
    assert ours.size == expected.shape[1] == 2048
    np.testing.assert_array_equal(ours.extract(torch.from_numpy(images)).numpy(), expected)


def test_legacy_features_are_what_clean_fid_extracts_from_files(tmp_path, monkeypatch):
    file, images = tmp_path / "weights.pth", pixels(2, 3)
    monkeypatch.setattr(cleanfid.inception_pytorch, "load_state_dict_from_url", lambda *_, **__: fill(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        theirs = cleanfid.features.build_feature_extractor("legacy_pytorch", CPU, use_dataparallel=False)
    expected = features_of_folder(save_pngs(tmp_path / "png", images), theirs, "legacy_pytorch")
    ours = inception.load("legacy_pytorch", file, CPU)
    found = ours.extract(torch.from_numpy(images)).numpy()
    assert ours.size == 2048
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def fill(file: Path) -> dict[str, torch.Tensor]:
    """Save random weights of pytorch-fid's network, in which signals neither vanish nor explode."""
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    random = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith("conv.weight"):
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=random)
    torch.save(state, file)
    return state


@pytest.mark.parametrize("stretch", [False, True])
def test_fid_of_a_model_is_the_one_clean_fid_computes_from_files(small, stretch, tmp_path):
    images = pixels(90, 1, side=8)
    streamed = list(samples.prior_samples(trained(), 80, 32, stretch))
    ours = frechet_distance(
        reference.moments(small, streamed),
        reference.reference_moments(small, images, CPU, dataset="d", split="test"),
    )
    images_of = {"samples": torch.cat(streamed).numpy(), "test": images}
    folders = [save_pngs(tmp_path / name, of) for name, of in images_of.items()]
    network = inception._torchscript(tmp_path / "small.pt", CPU)  # clean-fid's own wants 2048 features
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SciPy: of an argument that clean-fid passes
        theirs = cleanfid.fid.fid_from_feats(*[features_of_folder(of, network, "clean") for of in folders])
    assert theirs > 1e-3
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_gray_images_have_the_features_of_their_repetition(small):
    gray = torch.from_numpy(pixels(4, 1))
    torch.testing.assert_close(small.extract(gray), small.extract(gray.repeat(1, 3, 1, 1)), rtol=0, atol=0)


def test_features_repeat_to_the_bit(small):
    images = torch.from_numpy(pixels(4, 3))
    first = small.extract(images)
    for _ in range(3):
        assert torch.equal(small.extract(images), first)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 8, dtype=torch.uint8)])
def test_other_images_are_refused(small, images):
    with pytest.raises(ValueError, match="takes uint8 images of 1 or 3 channels"):
        small.extract(images)


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 64), (3, 400)])
def test_images_resized_by_several_threads_are_clean_fids_in_their_order(mode, channels, side):
    images, resize = pixels(8, channels, side=side), inception._resizer(mode)
    calls, both = itertools.count(), threading.Barrier(2)

    def together(image):
        if next(calls) < 2:
            both.wait(60)
        return resize(image)

    found = inception._resized(torch.from_numpy(images), together, 2)
    for ours, image in zip(found.numpy(), images, strict=True):
        theirs = resize(np.repeat(image, 3 // channels, 0).transpose(1, 2, 0)).transpose(2, 0, 1)
        np.testing.assert_array_equal(ours, theirs[:channels])


@pytest.mark.parametrize(("device", "threads"), [("cuda", 16), ("cpu", 1)])
def test_a_gpu_is_given_images_by_all_cores_and_a_trial_on_a_cpu_has_its_own(
    small, tmp_path, monkeypatch, device, threads
):
    def resized(images, resize, count):
        asked.append(count)
        raise LookupError

    asked = []
    monkeypatch.setattr(inception, "_torchscript", lambda file, device: lambda x: torch.zeros(1, 16))
    monkeypatch.setattr(inception, "_size", lambda network, device: 16)
    monkeypatch.setattr(inception, "usable_cores", lambda: 16)
    monkeypatch.setattr(inception, "_resized", resized)
    features = inception.load("clean", tmp_path / "small.pt", torch.device(device))
    with pytest.raises(LookupError):
        features.extract(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    assert asked == [threads]


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
def test_resizing_leaves_warnings_as_they_were(mode):
    before = list(warnings.filters)
    inception._resizer(mode)
    assert warnings.filters == before


def test_weights_that_were_not_published_are_called_so(small, tmp_path, monkeypatch):
    file = tmp_path / "small.pt"
    assert small.settings == {"resizing": "clean", "weights": "not the published ones"}
    assert small.hash == hashlib.sha256(file.read_bytes()).hexdigest()
    publish(monkeypatch, "clean", file.read_bytes())
    assert inception.load("clean", file, CPU).settings["weights"] == "published"


@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
def test_a_file_that_holds_no_network_is_one_line(mode, tmp_path):
    file = tmp_path / "weights"
    with pytest.raises(WeightsError, match=r"cannot read the Inception weights .*weights: No such file"):
        inception.load(mode, file, CPU)
    file.write_bytes(b"no network" * 100)
    with pytest.raises(WeightsError, match="holds no Inception network for mode") as error:
        inception.load(mode, file, CPU)
    assert "\n" not in str(error.value)


def test_weights_are_loaded_without_running_code_of_theirs(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"fc.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError):
        inception.load("legacy_pytorch", tmp_path / "trap.pth", CPU)
    assert not (tmp_path / "sprung").exists()


# Weights


class Answer(BaseHTTPRequestHandler):
    """Sends ``server.body``, and breaks off after ``server.sent`` bytes of it."""

    def do_GET(self):
        self.server.asked += 1
        body = self.server.body
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.sent])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as answering:
        answering.body, answering.sent, answering.asked = b"weights" * 10**5, None, 0
        thread = threading.Thread(target=answering.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        publish(
            monkeypatch, "clean", answering.body, f"http://127.0.0.1:{answering.server_port}/inception.pt"
        )
        yield answering
        answering.shutdown()
        thread.join()


def publish(monkeypatch, which: str, body: bytes, url: str = "http://127.0.0.1:9/inception.pt") -> None:
    """Let these bytes be the published ones. Nothing listens at the default address."""
    published = Published("published.pt", url, hashlib.sha256(body).hexdigest())
    monkeypatch.setitem(weights.PUBLISHED, which, published)


def kept(cache: Path) -> list[str]:
    return sorted(file.name for file in (cache / "weights").glob("*") if file.suffix != ".lock")


def test_weights_are_downloaded_once_into_the_cache(server, cache):
    assert weights.path("clean") is None
    file = weights.download("clean")
    assert file == cache / "weights" / "published.pt" == weights.path("clean")
    assert file.read_bytes() == server.body
    assert weights.download("clean") == file
    assert server.asked == 1
    assert kept(cache) == ["published.pt"]


def test_bytes_that_were_not_published_are_not_kept(server, cache):
    server.body = b"another network" * 1000
    with pytest.raises(WeightsError, match=r"http://.*inception.pt gave other bytes than were published"):
        weights.download("clean")
    assert kept(cache) == []


def test_a_connection_that_breaks_off_leaves_nothing(server, cache):
    server.sent = 300_000
    with pytest.raises(
        WeightsError, match=r"ended after 300000 of 700000 bytes.*rdbench weights --file FILE"
    ):
        weights.download("clean")
    assert kept(cache) == []
    server.sent = None
    assert weights.download("clean").read_bytes() == server.body


def test_without_a_connection_one_line_says_what_to_do(monkeypatch, cache):
    publish(monkeypatch, "clean", b"weights")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError) as error:
        weights.download("clean")
    for part in ("http://127.0.0.1:9/inception.pt", "refused", "--file FILE", str(weights.target("clean"))):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_an_address_that_is_gone_is_an_error(server):
    server.body = b""
    with pytest.raises(WeightsError, match="404"):
        weights.download("clean")


def test_damaged_weights_in_the_cache_are_refused_and_fetched_again(server):
    file = weights.download("clean")
    file.write_bytes(server.body[:-1] + b"?")
    with pytest.raises(WeightsError, match="is not what was published"):
        weights.identify("clean", file)
    assert weights.download("clean").read_bytes() == server.body
    assert server.asked == 2


def test_a_local_file_is_installed_without_a_connection(monkeypatch, tmp_path):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    publish(monkeypatch, "clean", b"weights")
    file = weights.install(tmp_path / "mine.pt")
    assert file == weights.path("clean") == weights.download("clean")
    assert file.read_bytes() == b"weights"
    assert weights.identify("clean", file) == (hashlib.sha256(b"weights").hexdigest(), True)


def test_a_local_file_that_was_not_published_is_not_installed(tmp_path, cache):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    with pytest.raises(WeightsError, match=r"mine.pt is not inception-2015-12-05.pt or .* as published"):
        weights.install(tmp_path / "mine.pt")
    with pytest.raises(WeightsError, match=r"cannot read .*absent.pt: No such file"):
        weights.install(tmp_path / "absent.pt")
    assert not cache.exists()


def test_what_was_published_is_what_clean_fid_fetches():
    assert weights.PUBLISHED["clean"].url == cleanfid.downloads_helper.inception_url
    assert weights.PUBLISHED["legacy_pytorch"].url == cleanfid.inception_pytorch.FID_WEIGHTS_URL
    for source in weights.PUBLISHED.values():
        assert source.url.endswith(f"/{source.file}")
        assert len(bytes.fromhex(source.sha256)) == 32
    assert weights.PUBLISHED["legacy_pytorch"].sha256.startswith("6726825d")


# Streams of images


def test_samples_do_not_depend_on_how_they_are_batched():
    whole = torch.cat(list(samples.prior_samples(trained(), 1100, 10**6, False)))
    assert whole.shape == (1100, *SHAPE)
    assert whole.dtype == torch.uint8
    for batch in (1, 64, 300):
        batches = list(samples.prior_samples(trained(), 1100, batch, False))
        assert max(map(len, batches)) == batch
        assert torch.equal(torch.cat(batches), whole)


def test_fewer_samples_are_the_first_of_more():
    more = torch.cat(list(samples.prior_samples(trained(), 700, 64, False)))
    for count in (1, 500, 501):
        assert torch.equal(torch.cat(list(samples.prior_samples(trained(), count, 64, False))), more[:count])
    other = torch.cat(list(samples.prior_samples(trained(seed=SEED + 1), 700, 64, False)))
    assert not torch.equal(other, more)


def test_samples_are_decodings_of_the_prior():
    latents = []
    model = trained(decode=lambda z: latents.append(z) or z.reshape(-1, 1, 1, LATENT) / 10 + 0.5)
    found = torch.cat(list(samples.prior_samples(model, 5000, 500, False))).double().flatten(1)
    z = torch.cat(latents)
    assert found.numpy() == pytest.approx((z / 10 + 0.5).clamp(0, 1).mul(255).numpy(), abs=0.51)
    assert z.mean(0).abs().max() < 0.05
    assert torch.cov(z.T).numpy() == pytest.approx(np.eye(LATENT), abs=0.07)


def test_images_are_clipped_or_stretched_each_for_itself():
    values = torch.tensor([[-1.0, 0.25, 3.0], [0.4, 0.5, 0.6], [0.3, 0.3, 0.3]]).reshape(3, 1, 1, 3)
    assert samples.to_uint8(values, False).flatten(1).tolist() == [[0, 64, 255], [102, 128, 153], [76] * 3]
    assert samples.to_uint8(values, True).flatten(1).tolist() == [[0, 80, 255], [0, 127, 255], [0] * 3]
    colour = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert samples.to_uint8(colour, True)[0, :, 0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("stretch", [False, True])
def test_a_decoder_that_breaks_down_gives_no_images(value, stretch):
    model = trained(decode=lambda z: torch.full((len(z), *SHAPE), value))
    with pytest.raises(ValueError, match="not finite"):
        next(samples.prior_samples(model, 10, 10, stretch))


def test_reconstructions_follow_the_test_images():
    def exact(x):
        return x.flatten(1), torch.full((len(x), 64), -50.0)

    model = trained(encode=exact, decode=lambda z: z.reshape(-1, *SHAPE), latent=64)
    batches = list(samples.reconstructions(model, 64))
    assert max(map(len, batches)) == 64
    assert torch.equal(torch.cat(batches), (model.test_images(torch.arange(1203)) * 255).round().byte())


def test_reconstructions_are_of_samples_and_do_not_depend_on_batches():
    model = trained(
        encode=lambda x: (torch.full((len(x), LATENT), 0.5), torch.full((len(x), LATENT), -4.0)),
        decode=lambda z: z.reshape(-1, 1, 1, LATENT),
    )
    once, again = (torch.cat(list(samples.reconstructions(model, batch))) for batch in (1, 400))
    assert torch.equal(once, again)
    assert once.double().std() / 255 == pytest.approx(np.exp(-2), rel=0.05)


def test_streams_leave_gradients_as_they_were():
    stream = samples.prior_samples(trained(), 600, 10, False)
    next(stream)
    assert torch.is_grad_enabled()


def test_stored_images_are_streamed_in_order(tmp_path):
    np.save(tmp_path / "images.npy", pixels(10, 3))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    batches = list(samples.stored_images(mapped, 4, CPU))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(torch.cat(batches).numpy(), mapped)
    with pytest.raises(ValueError, match="takes uint8 images, but these are float32"):
        next(samples.stored_images(np.zeros((2, 16, 1, 1), np.float32), 4, CPU))


# Reference statistics


def counted(small: Features) -> tuple[Features, list[int]]:
    """Features that note how many images they are asked for."""
    asked: list[int] = []

    def extract(images):
        asked.append(len(images))
        return small.extract(images)

    return dataclasses.replace(small, extract=extract, batch=8), asked


def test_reference_moments_are_computed_once(small):
    features, asked = counted(small)
    images = pixels(20, 1)
    first, again = (
        reference.reference_moments(features, images, CPU, dataset="d", split="train") for _ in range(2)
    )
    assert asked == [8, 8, 4]
    exact = small.extract(torch.from_numpy(images)).double().numpy()
    for found in (first, again):
        assert found.count == 20
        assert found.mean == pytest.approx(exact.mean(0), rel=1e-6)
        assert found.covariance == pytest.approx(np.cov(exact.T), rel=1e-4, abs=1e-9)
    assert np.array_equal(first.covariance, again.covariance)


def test_reference_features_are_of_the_same_images_each_time(small):
    features, asked = counted(small)
    images = pixels(20, 1)

    def get(count):
        return reference.reference_features(features, images, CPU, dataset="d", split="train", count=count)

    whole, some = get(20), get(6)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, small.extract(torch.from_numpy(images)).numpy(), rtol=1e-5)
    assert np.array_equal(get(6), some)
    assert sum(asked) == 26
    where = [int(np.abs(whole - row).sum(1).argmin()) for row in some]
    assert where == sorted(set(where)) != list(range(6))
    np.testing.assert_allclose(whole[where], some, rtol=1e-5)
    for count in (0, 21):
        with pytest.raises(ValueError, match=f"{count} reference images asked for, but the split has 20"):
            get(count)


def test_whatever_changes_the_reference_changes_its_key(small):
    features, asked = counted(small)
    images, where = pixels(5, 1), {"dataset": "d", "split": "train"}
    calls = [
        (reference.reference_moments, features, where),
        (reference.reference_features, features, where | {"count": 5}),
        (reference.reference_features, features, where | {"count": 4}),
        (reference.reference_moments, features, where | {"dataset": "e"}),
        (reference.reference_moments, features, where | {"split": "test"}),
        (reference.reference_moments, dataclasses.replace(features, hash="other"), where),
        (reference.reference_moments, dataclasses.replace(features, name="classifier"), where),
        (reference.reference_moments, dataclasses.replace(features, settings={"resizing": "x"}), where),
    ]
    for done, (function, network, key) in enumerate(calls, 1):
        for _ in range(2):
            function(network, images, CPU, **key)
        assert len(asked) == done


def files(cache: Path) -> list[Path]:
    return sorted(file for file in (cache / "reference").iterdir() if file.suffix != ".lock")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def replace(file: Path) -> None:
    """Put the arrays of another key there."""
    before = set(files(file.parents[1]))
    reference.cached({"quantity": "test", "n": 2}, lambda: {"x": np.ones(1000)})
    (other,) = set(files(file.parents[1])) - before
    other.rename(file)


def trap(file: Path) -> None:
    np.savez(file, x=np.array([Path("/")], dtype=object))


@pytest.mark.parametrize("damage", [truncate, flip, empty, replace, trap])
def test_a_damaged_file_is_computed_again(damage, cache):
    def get() -> np.ndarray:
        return reference.cached({"quantity": "test", "n": 1}, lambda: {"x": np.arange(1000.0)})["x"]

    get()
    (file,) = files(cache)
    assert file.name.startswith("test-")
    damage(file)
    assert np.array_equal(get(), np.arange(1000.0))
    unused = reference.cached({"n": 1, "quantity": "test"}, lambda: pytest.fail("computed again"))
    assert list(unused) == ["x"]


def test_what_fails_leaves_nothing_behind(cache):
    with pytest.raises(ZeroDivisionError):
        reference.cached({"quantity": "test"}, lambda: {"x": np.ones(1) / (1 // 0)})
    assert files(cache) == []
    assert reference.cached({"quantity": "test"}, lambda: {"x": np.ones(1)})["x"] == 1


def test_a_cache_that_cannot_be_written_to_is_one_line(cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file")
    with pytest.raises(CacheError, match="set RDBENCH_CACHE to a folder") as error:
        reference.cached({"quantity": "test"}, lambda: {"x": np.ones(1)})
    assert "\n" not in str(error.value)


def test_a_file_that_reads_back_damaged_is_not_taken_for_whole(tmp_path):
    with pytest.raises(CacheError, match="not whole"):
        make_once(tmp_path / "file", lambda path: None, lambda file: None)


WORKER = """
import os, sys, time
import numpy as np
from rdbench.metrics.features.reference import cached

def compute():
    with open(sys.argv[1], "a") as log:
        log.write("computed\\n")
    time.sleep(0.3)
    return {"x": np.arange(2e5)}

while not os.path.exists(sys.argv[2]):
    time.sleep(0.005)
x = cached({"quantity": "test"}, compute)["x"]
assert np.array_equal(x, np.arange(2e5)), "torn"
assert "torch" not in sys.modules
"""


def test_of_four_processes_that_ask_at_once_one_computes(tmp_path, cache):
    log, go = tmp_path / "log", tmp_path / "go"
    paths.cache_root().joinpath("reference").mkdir(parents=True)
    command = [sys.executable, "-c", WORKER, str(log), str(go)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    go.touch()
    assert [worker.communicate()[1] for worker in workers] == [""] * 4
    assert log.read_text() == "computed\n"
    assert len(files(cache)) == 1


def test_what_a_killed_process_left_is_not_in_the_way(cache):
    get = reference.cached
    get({"quantity": "test"}, lambda: {"x": np.ones(3)})
    (file,) = files(cache)
    file.rename(file.with_name(file.name + ".partial"))
    assert get({"quantity": "test"}, lambda: {"x": np.full(3, 2.0)})["x"].tolist() == [2, 2, 2]
    assert files(cache) == [file]


def test_they_start_without_torch():
    heavy = "{'torch', 'scipy', 'pandas'} & set(sys.modules)"
    code = f"import sys; from rdbench.metrics.features import reference, weights; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
