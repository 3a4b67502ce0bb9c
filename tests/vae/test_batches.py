"""Batches come in order from memory, from disk or from a thread that reads ahead."""

import threading
import time

import pytest
import torch

from rdbench.vae.batches import Draws, Images, ahead, as_float

CPU = torch.device("cpu")


def test_reading_ahead_yields_the_same_items_in_order_and_no_further_than_asked():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    stream = ahead(items, 3)
    assert next(stream) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 1  # taken, waiting, in the thread's hand
    assert [0, *stream] == list(range(20))


def test_an_error_while_reading_ahead_is_raised_where_the_batch_is_used():
    def items():
        yield 1
        raise OSError("disk gone")

    stream = ahead(items, 2)
    assert next(stream) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(stream)


def test_the_reading_thread_ends_with_its_reader():
    def reading():
        return any(thread.name.startswith("rdbench-prefetch") for thread in threading.enumerate())

    stream = ahead(lambda: iter(range(1000)), 2)
    next(stream)
    assert reading()
    stream.close()
    for _ in range(50):
        if not reading():
            return
        time.sleep(0.1)
    pytest.fail("the thread is still there")


def test_a_stream_of_batches_is_the_batches(data):
    images = Images(data.train, CPU)
    index = torch.arange(256).flip(0).split(64)
    for part, pixels in zip(index, images.stream(index), strict=True):
        assert torch.equal(as_float(pixels), images.batch(part))
        assert torch.equal(pixels, torch.tensor(data.train.images[part.numpy()]))


def test_a_pack_draws_for_each_seed_what_a_trial_alone_draws(trial, data):
    pack = [trial, trial.model_copy(update={"seed": 1}), trial.model_copy(update={"beta": 3.0})]
    draws = Draws(pack, data, CPU)
    alone = {seed: Draws([trial.model_copy(update={"seed": seed})], data, CPU).epoch() for seed in (0, 1)}
    steps = 0
    for inputs in draws.epoch():
        steps += 1
        assert [tuple(part.shape) for part in inputs[::2]] == [(64, 1, 8, 8), (64, 0), (64, 4)]
        batches = draws.batches(inputs)
        assert batches.keys() == {0, 1}  # one a seed
        for seed, (images, noise) in batches.items():
            pixels, _, own = next(alone[seed])
            assert torch.equal(images, pixels / 255)
            assert torch.equal(noise, own)
        assert not torch.equal(batches[0][0], batches[1][0])
    assert steps == draws.steps


def test_an_epoch_draws_every_image_once(trial, data):
    draws = Draws([trial], data, CPU)
    for _ in range(2):
        seen = torch.cat([pixels for pixels, _, _ in draws.epoch()])
        assert sorted(map(bytes, seen.numpy())) == sorted(map(bytes, data.train.images))
