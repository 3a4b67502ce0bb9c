"""`rdbench check`: what is right passes, and each fault a variant can have is told with its place."""

import textwrap

import pytest

from rdbench.commands import new
from rdbench.commands.check import check, summary
from rdbench.errors import SpecError

OBJECTIVE = """
import math
import torch
import rdbench

@rdbench.variant("mine", paper="none")
def mine(sse, rate, beta, n):
    '''A loss.'''
    return {loss}
"""
MODEL = """
import torch
import rdbench

@rdbench.variant("mine", native="half", paper="none")
class Mine(rdbench.Model):
    '''A loss.'''
{body}
"""
TRIAL = """
import numpy as np
import torch
import rdbench
from rdbench.vae.evaluation import Measurement

@rdbench.variant("mine", paper="none"{arguments})
def mine(trial, data):
    '''A loss.'''
{body}
"""


def objective(loss):
    return OBJECTIVE.format(loss=loss)


def model(body):
    return MODEL.format(body=textwrap.indent(textwrap.dedent(body), "    "))


def trial(body, arguments=""):
    return TRIAL.format(body=textwrap.indent(textwrap.dedent(body), "    "), arguments=arguments)


@pytest.fixture
def found(tmp_path):
    """Check a source; return its findings by the name of the check, where one is named as far as that one."""

    def examine(text, *overrides, until=None):
        (tmp_path / "mine.py").write_text(text)
        findings = {}
        for finding in check(f"{tmp_path}/mine.py:mine", overrides, elsewhere=False):
            findings[finding.check] = finding
            if finding.check == until:
                break
        return findings

    return examine


FAULTS = {
    "not Python": ("def mine(:", "declared", "not Python", 1),
    "no decorator": ("def mine(sse, rate, beta, n): ...", "declared", "it declares none", None),
    "an option without a type": (
        objective("sse").replace("beta, n)", "beta, n, *, gamma=1)"),
        "declared",
        "option gamma: give it a type",
        7,
    ),
    "a name that is taken": (objective("sse").replace('"mine"', '"bs_vae"'), "declared", "rename it", 7),
    "an unknown reading": (
        objective("sse").replace('paper="none"', 'native="best"'),
        "declared",
        "there is no reading 'best'",
        6,
    ),
    "an import that fails": (
        objective("sse").replace("import math", "import not_there"),
        "imports",
        "ModuleNotFoundError: No module named 'not_there'",
        2,
    ),
    "a class that is no model": (
        model("x = 1").replace("(rdbench.Model)", ""),
        "imports",
        "write class ...(rdbench.Model)",
        6,
    ),
    "a scalar loss": (objective("(sse + beta * rate).mean()"), "shapes", "shape (); it must be", 7),
    "a loss of the batch": (
        objective("(sse + beta * rate).mean(0, keepdim=True)"),
        "shapes",
        "the loss has shape (1,); it must be float32 (5,)",
        7,
    ),
    "a loss in double precision": (objective("sse.double()"), "shapes", "is float64; it must be", 7),
    "an exception": (objective("sse + missing"), "shapes", "NameError: name 'missing'", 9),
    "a loss that overflows": (
        objective("sse.exp() + beta * rate"),
        "gradients",
        "the loss is inf at sse 1e+06",
        7,
    ),
    "a gradient that is NaN": (
        objective("sse + (beta * rate).sqrt()"),
        "gradients",
        "gradient by rate is inf at sse 1e-06, rate 0, beta 0.0001",
        7,
    ),
    "no gradient": (
        objective("(sse + beta * rate).detach()"),
        "shapes",
        "the loss has no gradient, so nothing would be learned",
        7,
    ),
    "no gradient by the error": (objective("beta * rate"), "gradients", "does not depend on sse", 7),
    "a model without super().__init__": (
        model("def __init__(self, about): self.about = about"),
        "shapes",
        "__init__ must begin with super().__init__(about)",
        8,
    ),
    "a loss that is a mean": (
        model("def loss(self, images, terms, beta): return terms.sse.mean()"),
        "shapes",
        "the loss has shape ()",
        8,
    ),
    "a rate for each latent": (
        model("def rate(self, posterior, latents): return latents.square()"),
        "shapes",
        "the rate has shape (5, 4); it must be float32 (5,)",
        8,
    ),
    "latents of another size": (
        model(
            """
            def sample(self, posterior, noise): return posterior[0][:, :2]
            def decode(self, latents): return self.network.decode(torch.cat([latents, latents], 1))
            """
        ),
        "shapes",
        "a latent sample has shape (5, 2)",
        9,
    ),
    "native='own' without a likelihood": (
        model("pass").replace("half", "own"),
        "shapes",
        "distortion returns None",
        6,
    ),
    "a loss that is NaN at a large beta": (
        model("def loss(self, images, terms, beta): return terms.sse + (terms.rate * beta).exp()"),
        "gradients",
        "the loss is inf at beta 1000",
        8,
    ),
    "a rate that is not the closed form": (
        model("def rate(self, posterior, latents): return super().rate(posterior, latents) / 2"),
        "rate",
        "gaussian = True, but the rate is",
        8,
    ),
    "a negative rate": (
        model(
            """
            gaussian = False
            def rate(self, posterior, latents): return -super().rate(posterior, latents)
            """
        ),
        "rate",
        "not negative",
        10,
    ),
    "an estimate of a negative rate": (
        model(
            """
            gaussian = False
            def rate(self, posterior, latents):
                return -super().rate(posterior, latents) + 0.01 * latents.sum(1)
            """
        ),
        "rate",
        "the rate is on average -",
        10,
    ),
    "a prior without the generator": (
        model("def prior(self, count, generator): return torch.randn(count, self.about.latent)"),
        "prior",
        "draw with generator=generator",
        8,
    ),
    "a prior of another shape": (
        model("def prior(self, count, generator): return torch.randn(count, generator=generator)"),
        "prior",
        "(5,); it must be float32 (5, 4)",
        8,
    ),
    "a prior that is not standard normal": (
        model("def prior(self, count, generator): return 2 * super().prior(count, generator)"),
        "prior",
        "write gaussian = False",
        8,
    ),
    "noise of its own in evaluation": (
        model(
            """
            gaussian = False
            def sample(self, posterior, noise): return posterior[0] + torch.randn_like(noise)
            """
        ),
        "evaluation",
        "draws from torch's global generator",
        6,
    ),
    "a state that evaluation changes": (
        model(
            """
            def __init__(self, about):
                super().__init__(about)
                self.register_buffer("seen", torch.zeros(()))
            def forward(self, images, noise):
                self.seen += 1
                return super().forward(images, noise)
            """
        ),
        "evaluation",
        "evaluation changes seen",
        6,
    ),
    "a hidden state": (
        model(
            """
            seen = 0.0
            def decode(self, latents):
                self.seen += 1
                return self.seen * super().decode(latents)
            """
        ),
        "evaluation",
        "two passes over the same images and noise differ",
        6,
    ),
    "something learned that is not kept": (
        model(
            """
            scale = 1.0
            def loss(self, images, terms, beta):
                if self.training:
                    self.scale = self.scale + float(terms.sse.detach().mean())
                return terms.sse / self.scale + beta * terms.rate
            """
        ),
        "weights",
        "its loss is another after writing and reading the weights",
        6,
    ),
    "a state that an interruption loses": (
        model(
            """
            turns = 0
            def loss(self, images, terms, beta):
                self.turns += self.training
                warm = min(1.0, self.turns / 8) if self.training else 1.0
                return terms.sse + warm * beta * terms.rate
            """
        ),
        "resumes",
        "interrupted and gone on with, the same trial gives other points",
        6,
    ),
    "randomness that is not seeded": (
        trial(
            """
            model = rdbench.Model(trial.about(data))
            with torch.no_grad():
                next(model.parameters()).mul_(np.random.default_rng().uniform(0.5, 1.5))
            trial.fit(model, data)
            return rdbench.TrialResult(model)
            """
        ),
        "repeats",
        "the same trial gives other points",
        8,
    ),
    "a trial function without result": (
        trial("pass"),
        "trains",
        "returned a NoneType, not an rdbench.TrialResult",
        8,
    ),
    "a closed form without its solution": (
        model("x = 1").replace('native="half"', 'native="half", closed_form=True'),
        "trains",
        "give it a method solve(self, images)",
        6,
    ),
    "an exception in the loop": (trial("x = 1\nreturn x / 0"), "trains", "ZeroDivisionError", 11),
    "measurements of some images": (
        trial(
            """
            few = Measurement(np.ones(7), np.ones(7))
            return rdbench.TrialResult(measured={trial.beta: {"train": few, "test": few}})
            """
        ),
        "trains",
        "returned [7] images of the train split, which has 128",
        8,
    ),
    "a curve with a point left out": (
        trial(
            """
            model = rdbench.Model(trial.about(data))
            trial.fit(model, data)
            return rdbench.TrialResult({trial.betas[0]: model})
            """,
            ", curve=True",
        ),
        "trains",
        "returned nothing for betas [1.0, 1000.0]",
        8,
    ),
    "an exception at one beta": (
        trial(
            """
            assert trial.beta < 100, 'too much'
            model = rdbench.Model(trial.about(data))
            trial.fit(model, data)
            return rdbench.TrialResult(model)
            """
        ),
        "epochs at extreme betas",
        "AssertionError: too much",
        11,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_its_line_and_its_mend(fault, tmp_path):
    text, where, words, line = FAULTS[fault]
    file = tmp_path / "mine.py"
    file.write_text(text)
    first = next(each for each in check(f"{file}:mine", elsewhere=False) if each.status == "FAIL")
    assert first.check == where, first
    told = str(first)
    assert words in told
    assert "\n" not in told
    assert (str(file) if line is None else f"{file}:{line}: ") in told


NOTES = {
    "no docstring": (
        objective("sse + beta * rate").replace("'''A loss.'''", "pass"),
        "declared",
        "no docstring",
    ),
    "no beta": (objective("sse"), "gradients", "beta changes nothing"),
    "a falling loss": (objective("sse - beta * rate"), "direction", "falls as rate grows"),
    "coupled images": (
        objective("sse + beta * rate * sse.mean()"),
        "images",
        "changes the loss of the others",
    ),
    "an option nobody reads": (
        objective("sse + beta * rate").replace("n)", "n, *, gamma: float = 1)"),
        "options",
        "gamma is never read",
    ),
    "a weight nobody trains": (
        model(
            """
            def __init__(self, about):
                super().__init__(about)
                self.spare = torch.nn.Linear(2, 2)
            """
        ),
        "gradients",
        "no gradient reaches spare.bias, spare.weight",
    ),
    "a likelihood that is not declared": (
        model("def distortion(self, images, terms): return terms.sse"),
        "shapes",
        "is native='own' meant?",
    ),
    "no epochs": (
        trial("return rdbench.TrialResult(rdbench.Model(trial.about(data)))"),
        "trains",
        "reports no epochs",
    ),
    "a loop that begins again": (
        trial(
            """
            model = rdbench.Model(trial.about(data))
            optimizer = torch.optim.AdamW(model.parameters())
            for batches in trial.epochs(data):
                for images, noise in batches:
                    terms = model(images, noise)
                    model.loss(images, terms, trial.beta).mean().backward()
                    optimizer.step()
            return rdbench.TrialResult(model)
            """
        ),
        "resumes",
        "an interrupted trial begins again",
    ),
    "divergence at one beta": (
        trial(
            """
            if trial.beta > 100:
                return rdbench.TrialResult(diverged="too much")
            return rdbench.TrialResult(rdbench.Model(trial.about(data)))
            """
        ),
        "epochs at extreme betas",
        "diverged at beta 1000: too much",
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_is_no_fault_but_worth_knowing_is_a_note(case, found):
    text, where, words = NOTES[case]
    findings = found(text)
    assert [str(each) for each in findings.values() if each.status == "FAIL"] == []
    assert findings[where].status == "note"
    assert words in findings[where].text


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (objective("sse + beta * rate"), True),
        (objective("sse + beta * rate.clamp(min=3)"), False),
        (objective("beta * sse + rate"), False),
        (model("pass"), True),
        (model("def loss(self, images, terms, beta): return terms.sse + beta * terms.rate.sqrt()"), False),
    ],
)
def test_a_declared_loss_of_distortion_and_beta_rate_is_held_to_it(text, holds, found):
    native = text.replace('native="half", ', "").replace('"mine"', '"mine", native="half"')
    declared = found(native.replace('native="half"', 'native="half", beta_rate=True'), until="beta rate")
    declared = declared["beta rate"]
    assert declared.status == ("ok" if holds else "FAIL")
    assert holds or "leave beta_rate out" in declared.text
    silent = found(native, until="beta rate")["beta rate"]
    assert silent.status == ("note" if holds else "ok")
    assert not holds or "declare beta_rate=True" in silent.text


def test_a_rate_of_its_own_needs_a_prior_or_posterior_of_its_own(found):
    halved = """
    gaussian = False
    def rate(self, posterior, latents): return super().rate(posterior, latents) / 2
    """
    told = str(found(model(halved), until="rate")["rate"])
    assert told.startswith("FAIL")
    assert "override prior(count, generator) to sample from the prior that the rate is of" in told


def test_a_learned_prior_is_not_taken_for_the_standard_one_that_it_starts_at(found):
    learned = """
    def __init__(self, about):
        super().__init__(about)
        self.location = torch.nn.Parameter(torch.zeros(about.latent))
    def rate(self, posterior, latents):
        return super().rate((posterior[0] - self.location, posterior[1]), latents)
    def prior(self, count, generator):
        return self.location + super().prior(count, generator)
    """
    told = str(found(model(learned), until="prior")["prior"])
    assert "gaussian = True says that the prior is standard normal" in told
    told = str(found(model("\n    gaussian = False" + learned), until="rate")["rate"])
    assert told.startswith("note")
    assert "a closed form, not negative" in told


def test_an_estimate_of_a_rate_is_held_to_its_mean(found):
    estimate = """
    gaussian = False
    def prior(self, count, generator): return super().prior(count, generator)
    def rate(self, posterior, latents):
        mean, log_var = posterior
        return 0.5 * (latents**2 - (latents - mean) ** 2 * (-log_var).exp() - log_var).sum(1)
    """
    told = str(found(model(estimate), until="rate")["rate"])
    assert told.startswith("note  rate: an estimate, on average 0.")


def test_options_are_set_and_a_wrong_one_is_the_users_mistake(found):
    text = objective("sse + gamma * beta * rate").replace("n)", "n, *, gamma: float = 1)")
    assert "gamma=3.0" in found(text, "gamma=3", until="declared")["declared"].text
    with pytest.raises(SpecError, match="gamma: expected a number"):
        found(text, "gamma=high")
    with pytest.raises(SpecError, match="did you mean 'bs_vae'"):
        list(check("bs_va"))


SHIPPED = "beta_vae sigma_vae_optimal autoencoder student_t geco vamp_prior beta_tc bs_vae linear_coder"


@pytest.mark.parametrize("name", SHIPPED.split())
def test_variants_that_ship_pass(name):
    findings = list(check(name, elsewhere=False))
    assert summary(name, findings) == f"{name} passes {len(findings)} checks", [
        str(each) for each in findings
    ]
    assert len(findings) >= 11


def test_a_fresh_process_has_the_source_text_alone(tmp_path):
    """All that a machine of its own lacks is told; what is in the text is enough."""
    (tmp_path / "numbers.txt").write_text("2")
    reads = objective("sse + scale * beta * rate").replace(
        "@rdbench",
        "scale = float((__import__('pathlib').Path(__file__).parent / 'numbers.txt').read_text())\n@rdbench",
    )
    (tmp_path / "mine.py").write_text(reads)
    (failed,) = [each for each in check(f"{tmp_path}/mine.py:mine") if each.status == "FAIL"]
    assert failed.check == "fresh process"
    assert "line 6: FileNotFoundError" in failed.text


def test_what_starting_points_write_passes(tmp_path):
    """Of each kind; and one of them in full, with the fresh process."""
    for kind in ("objective", "model", "trial"):
        file = tmp_path / f"own_{kind}.py"
        name = new.write(file, kind)
        assert name == f"own_{kind}"
        assert "my_vae" not in file.read_text()
        assert "MyVae" not in file.read_text()
        findings = list(check(f"{file}:{name}", elsewhere=kind == "model"))
        assert [str(each) for each in findings if each.status == "FAIL"] == []
        assert [each.check for each in findings if each.status == "note"] == {
            "objective": ["declared"],
            "model": ["declared"],
            "trial": ["declared", "side by side"],
        }[kind]
