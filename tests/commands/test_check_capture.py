"""`rdbench check` tells without a GPU whether one can record a training step, and what stands in the way."""

import textwrap

import pytest
import torch

from rdbench.commands.check import check
from rdbench.commands.check.capture import why_not
from rdbench.registry import variants
from rdbench.registry.source import shipped
from rdbench.spec.sweep import VariantSpec
from rdbench.vae import models
from rdbench.variants.multi_rate import MultiRate
from rdbench.variants.two_stage import TwoStage

CPU = torch.device("cpu")


def reason(model, latent=4):
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(3, 8, 1, 8, 8, generator=draws)
    return why_not(model, list(zip(images, torch.randn(3, 8, latent, generator=draws), strict=True)))


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_ships_and_is_trained_by_the_reference_recipe_can_be_recorded(trial, name):
    declared = variants.declared(name)
    if declared.closed_form or name == "codec":
        pytest.skip("it takes no training steps")
    trial = trial.model_copy(update={"variant": VariantSpec(name=name)})
    about = models.about(trial, (1, 8, 8), 256)
    if name == "multi_rate":
        model = MultiRate(about, (0.1, 1.0), torch.Generator().manual_seed(0), root=False)
    elif name == "two_stage":  # its first stage; the second has a loop of its own
        model = TwoStage(about, 8)
    else:
        assert declared.packs
        model = models.build(trial, (1, 8, 8), 256)
    assert model.capturable
    assert reason(model) is None


BODIES = {
    "item": ("weight = 2.0 if terms.sse.mean().item() > 1 else 1.0", "reads a number from the device"),
    "tensor": ("weight = torch.tensor([2.0])", "copies numbers to the device"),
    "mask": ("weight = terms.sse[terms.rate > 0].sum()", "makes a tensor whose size depends on values"),
    "random": ("weight = torch.rand(1)", "draws from torch's global generator"),
    "schedule": ("weight = self.steps = getattr(self, 'steps', 0) + 1", "does other work each time"),
    "branch": (
        "self.steps = getattr(self, 'steps', 0) + 1\nweight = terms.sse * 2 if self.steps % 2 else 3",
        "does other work each time",
    ),
}
MODEL = """
import torch
import rdbench

@rdbench.variant("mine", native="half", paper="none")
class Mine(rdbench.Model):
    '''A loss.'''
{declared}
    def loss(self, images, terms, beta):
{body}
        return terms.sse + weight * beta * terms.rate
"""


def side_by_side(tmp_path, body, declared):
    file = tmp_path / "mine.py"
    text = MODEL.format(
        body=textwrap.indent(body, " " * 8), declared="    capturable = True\n" if declared else ""
    )
    file.write_text(text)
    line = next(n for n, written in enumerate(text.splitlines(), 1) if "weight = " in written)
    found = {one.check: one for one in check(f"{file}:mine", elsewhere=False)}
    return found["side by side"], line


@pytest.mark.parametrize("fault", BODIES)
@pytest.mark.parametrize("declared", [True, False])
def test_what_stands_in_the_way_is_a_fault_where_it_is_denied_and_else_a_note(tmp_path, fault, declared):
    body, words = BODIES[fault]
    finding, line = side_by_side(tmp_path, body, declared)
    assert finding.status == ("FAIL" if declared else "note")
    assert words in finding.text
    assert "\n" not in finding.text
    if fault in ("item", "tensor", "mask"):
        assert f", line {line}" in finding.text
    assert ("before_step" in finding.text) == declared


def test_a_step_that_can_be_recorded_packs_if_its_class_says_so(tmp_path):
    assert side_by_side(tmp_path, "weight = 2.0", True)[0].text.startswith("packs: its step is the same work")
    finding, _ = side_by_side(tmp_path, "weight = 2.0", False)
    assert (finding.status, "write capturable = True in the class" in finding.text) == ("note", True)


def test_what_the_host_has_to_do_is_done_before_the_step(tmp_path):
    body = "weight = self.weight"
    text = MODEL.format(
        body=" " * 8 + body,
        declared="""    capturable = True

    def __init__(self, about):
        super().__init__(about)
        self.register_buffer("weight", torch.ones(()))

    def before_step(self):
        self.weight.fill_(self.weight.item() / 2)
""",
    )
    (tmp_path / "mine.py").write_text(text)
    findings = list(check(f"{tmp_path}/mine.py:mine", elsewhere=False))
    assert [str(one) for one in findings if one.status == "FAIL"] == []
    assert {one.check: one.status for one in findings}["side by side"] == "ok"
