"""Malformed sweep files, each with the line, the key and the mend that its error has to name."""

from rdbench.yaml_lines import MAX_DEPTH

GOOD = """\
name: try
dataset: mnist
variants: [beta_vae, bs_vae]
beta: [0.1, 1, 10]
"""

# What is wrong: (line of GOOD to replace, or None to append as line 5), the text, line, key, mend

MALFORMED = [
    # unknown keys
    (None, "trian: {epochs: 2}", 5, "trian", "did you mean 'train'?"),
    (None, "train:\n  lr: 1\n  epoch: 2", 7, "train.epoch", "did you mean 'epochs'?"),
    (None, "zzz: 1", 5, "zzz", "choose from name, dataset"),
    ("dataset", "dataset: {name: mnist, train_image: 3}", 2, "dataset.train_image", "did you mean 'train_"),
    ("variants", "variants:\n- name: bs_vae\n  eps: 1", 5, "variants[0].eps", "takes no options, remove it"),
    ("beta", "beta: {linspace: [1, 2, 3]}", 4, "beta.linspace", "{logspace: [low, high, count]}"),
    # types: nothing is coerced
    (None, "train: {epochs: true}", 5, "train.epochs", "got true; write digits only"),
    (None, "train: {epochs: '3'}", 5, "train.epochs", "got '3'; write digits only"),
    (None, "train: {epochs: 3.0}", 5, "train.epochs", "got 3.0; write digits only"),
    (None, "train: {lr: '0.1'}", 5, "train.lr", "expected a number, got '0.1'; write it plainly"),
    (None, "train: {lr: true}", 5, "train.lr", "expected a number, got true; write it plainly"),
    (None, "train: {augment: yes}", 5, "train.augment", "got 'yes'; write true or false"),
    (None, "train: {augment: 1}", 5, "train.augment", "got 1; write true or false"),
    (None, "train: 3", 5, "train", "expected a mapping, got 3; write it as {key: value}"),
    (None, "train:", 5, "train", "got nothing; write it as {key: value}"),
    (None, "keep_per_image: 1", 5, "keep_per_image", "write true or false"),
    (None, "readings: half", 5, "readings", "expected a list, got 'half'; write it as"),
    (None, "seeds: true", 5, "seeds", "got true; write it as 5"),
    (None, "seeds: 1.5", 5, "seeds", "got 1.5; write it as 5"),
    (None, "model: {channels: 3}", 5, "model.channels", "expected a list, got 3; write it as"),
    ("name", "name: 2024", 1, "name", "expected text, got 2024; put it in quotes"),
    ("dataset", "dataset: 3", 2, "dataset", "write 'dataset: mnist'"),
    ("dataset", "dataset: {name: mnist, train_images: '3'}", 2, "dataset.train_images", "write digits only"),
    ("dataset", "dataset: {train_images: 3}", 2, "dataset", "add 'name: mnist'"),
    ("variants", "variants: [beta_vae, 3]", 3, "variants[1]", "write bs_vae or"),
    ("beta", "beta: 1", 4, "beta", "expected a list, got 1; write [0.1, 1, 10]"),
    ("beta", "beta: [1, '2']", 4, "beta[1]", "expected a number, got '2'; write it plainly"),
    ("beta", "beta: [1, true]", 4, "beta[1]", "expected a number, got true; write it plainly"),
    # ranges
    (None, "train: {epochs: 0}", 5, "train.epochs", "use at least 1"),
    (None, "train: {batch_size: 1}", 5, "train.batch_size", "use at least 2"),
    (None, "train: {lr: 0}", 5, "train.lr", "use more than 0"),
    (None, "train: {weight_decay: -1}", 5, "train.weight_decay", "use at least 0"),
    (None, "seeds: 0", 5, "seeds", "use 1 to 10,000"),
    (None, "seeds: [-1]", 5, "seeds[0]", "use at least 0"),
    (None, "resources: {cpus: 0}", 5, "resources.cpus", "use at least 1"),
    (None, "resources: {gpus: -1}", 5, "resources.gpus", "use auto, 0, or a share"),
    (None, "resources: {gpus: all}", 5, "resources.gpus", "use auto, 0, or a share"),
    (None, "resources: {gpus: true}", 5, "resources.gpus", "use auto, 0, or a share"),
    ("dataset", "dataset: {name: mnist, train_images: 0}", 2, "dataset.train_images", "use at least 1"),
    ("beta", "beta:\n- 1\n- 0", 6, "beta[1]", "use at least 1e-08"),
    ("beta", "beta: [1e9]", 4, "beta[0]", "use at most 1e+08"),
    ("beta", "beta: [.inf]", 4, "beta[0]", "not a finite number; write a number"),
    ("beta", "beta: [.nan]", 4, "beta[0]", "not a finite number; write a number"),
    ("beta", "beta: [1e999]", 4, "beta[0]", "write a smaller one"),
    ("beta", f"beta: [{'9' * 5000}]", 4, "beta[0]", "write a smaller one"),
    # empty, twice, too many
    ("beta", "beta: []", 4, "beta", "name at least one"),
    ("variants", "variants: []", 3, "variants", "name at least one"),
    (None, "readings: []", 5, "readings", "name at least one"),
    (None, "seeds: []", 5, "seeds", "name at least one"),
    ("beta", "beta: [1, 2, 1.0]", 4, "beta[2]", "1 is there twice; remove one of them"),
    ("variants", "variants: [bs_vae, bs_vae]", 3, "variants[1]", "'bs_vae' is there twice; remove one"),
    (None, "readings: [half, half]", 5, "readings[1]", "'half' is there twice; remove one of them"),
    (None, "seeds: [1, 2, 1]", 5, "seeds[2]", "1 is there twice; remove one of them"),
    (None, "seeds: 6000", 4, "beta", "36,000 trainings; use fewer betas or seeds: at most 10,000"),
    ("beta", "beta: {logspace: [1, 2, 100000]}", 4, "beta.logspace", "use a whole number from 2 to 10,000"),
    ("beta", "beta: {logspace: [1, 2, 2.5]}", 4, "beta.logspace", "use a whole number from 2 to 10,000"),
    ("beta", "beta: {logspace: [2, 1, 5]}", 4, "beta.logspace", "use 1e-08 <= low < high <= 1e+08"),
    ("beta", "beta: {logspace: [0, 1, 5]}", 4, "beta.logspace", "use 1e-08 <= low < high <= 1e+08"),
    ("beta", "beta: {logspace: [1, 2]}", 4, "beta.logspace", "write {logspace: [low, high, count]}"),
    ("beta", "beta: {logspace: [1, x, 3]}", 4, "beta.logspace", "write {logspace: [low, high, count]}"),
    ("beta", "beta: {logspace: [1, 1.000001, 30]}", 4, "beta", "is there twice; remove one of them"),
    # unknown names
    ("dataset", "dataset: mnits", 2, "dataset", "no dataset named 'mnits'; did you mean 'mnist'?"),
    ("dataset", "dataset: {name: qqq}", 2, "dataset.name", "choose from"),
    ("variants", "variants:\n- beta_vae\n- bsvae", 5, "variants[1]", "did you mean 'bs_vae'?"),
    (None, "readings: [half, optimum]", 5, "readings[1]", "did you mean 'optimal'?"),
    (None, "protocol: papper", 5, "protocol", "did you mean 'paper'?"),
    (None, "model: {name: linaer}", 5, "model.name", "did you mean 'linear'?"),
    (None, "metrics: [zzz]", 5, "metrics[0]", "no metric named 'zzz'; choose from fd_classifier, fid, iwae"),
    (None, "keep_weights: 1", 5, "keep_weights", "expected true or false"),
    (None, "resources: {pack: 0}", 5, "resources.pack", "use auto, or 1 to 1024"),
    (None, "resources: {trial_timeout: 0}", 5, "resources.trial_timeout", "use more than 0"),
    (None, "resources: {checkpoint_minutes: -1}", 5, "resources.checkpoint_minutes", "use at least 0"),
    (None, "train: {precision: fp16}", 5, "train.precision", "did you mean 'bf16'?"),
    (None, "metrics: [{name: kid, subset_size: 0}]", 5, "metrics[0].subset_size", "0"),
    (None, "metrics:\n- name: iwea", 6, "metrics[0].name", "no metric named 'iwea'; did you mean 'iwae'?"),
    # metrics
    (None, "metrics: iwae", 5, "metrics", "expected a list, got 'iwae'; write it as"),
    (None, "metrics: [3]", 5, "metrics[0]", "expected a metric's name, got 3; write iwae or {name: iwae"),
    (None, "metrics: [{samples: 3}]", 5, "metrics[0]", "the metric is not named; add 'name: iwae'"),
    (None, "metrics: [iwae, iwae]", 5, "metrics[1]", "'iwae' is there twice; remove one of them"),
    (None, "metrics:\n- name: iwae\n  sample: 9", 7, "metrics[0].sample", "did you mean 'samples'?"),
    (None, "metrics: [{name: iwae, samples: 0}]", 5, "metrics[0].samples", "use at least 1"),
    (None, "metrics: [{name: iwae, samples: 1e3}]", 5, "metrics[0].samples", "write digits only"),
    (None, "metrics: [{name: iwae, images: every}]", 5, "metrics[0].images", "write digits only"),
    (None, "metrics: [{name: iwae, readings: []}]", 5, "metrics[0].readings", "write at least 1"),
    (None, "metrics: [{name: iwae, readings: [optimal]}]", 5, "metrics[0].readings[0]", "no likelihood; use"),
    (None, "metrics: [{name: iwae, readings: [half, half]}]", 5, "metrics[0].readings", "is there twice"),
    (None, "protocol: paper\nmetrics: [iwae]", 6, "metrics[0]", "under protocol paper; use protocol: clean"),
    # models that cannot be built
    (None, "model: {channels: []}", 5, "model.channels", "name a width for each halving"),
    (None, "model: {name: linear, channels: [8]}", 5, "model.channels", "remove the key"),
    (None, "model: {channels: [8, 8, 8, 8, 8, 8]}", 5, "model.channels", "too often; name at most 5"),
    (None, "model: {latent: 0}", 5, "model.latent", "use at least 1"),
    # names that are no folder
    ("name", "name: a/b", 1, "name", "use at most 100 letters"),
    ("name", "name: ..", 1, "name", "use at most 100 letters"),
    ("name", "name: ''", 1, "name", "use at most 100 letters"),
    ("name", f"name: {'x' * 101}", 1, "name", "use at most 100 letters"),
    # YAML itself
    (None, "name: again", 5, "name", "the key stands on line 1 too; remove one of them"),
    (None, "train:\n  lr: 1\n  lr: 2", 7, "train.lr", "the key stands on line 6 too; remove one of them"),
    (None, "train: [", 5, "", "check the indentation, brackets and quotes there"),
    (None, "train: {lr: 1", 5, "", "check the indentation, brackets and quotes there"),
    (None, "\ttrain: {}", 5, "", "check the indentation, brackets and quotes there"),
    (None, "train: {lr: !!python/object/apply:os.getcwd []}", 5, "train.lr", "remove the tag"),
    (None, "train: {lr: !!float 1}", 5, "train.lr", "YAML tags such as !!float are refused; remove the tag"),
    (None, "seeds: *nowhere", 5, "seeds", "write &nowhere on an earlier value"),
    (None, "seeds: &a [*a]", 5, "seeds[0]", "write &a on an earlier value"),
    (None, f"seeds: {'[' * (MAX_DEPTH + 1)}{']' * (MAX_DEPTH + 1)}", 5, "seeds[0][0]", "flatten it"),
    (None, "3: 4", 5, "", "a key must be text, got 3; put it in quotes"),
    (None, "? [a]\n: 4", 5, "", "a key must be text, got a list; put it in quotes"),
    (None, "---\nname: second", 5, "", "a second document starts here; keep one a file"),
    (None, "protocol: \x01", 5, "", "a character that YAML does not allow; remove it"),
    (None, '"a\\nb": 1', 5, "a\\nb", "choose from"),
]  # fmt: skip


def written(replaced: str | None, text: str) -> str:
    """Return GOOD with one line replaced, or with lines appended."""
    lines = GOOD.splitlines()
    if replaced is None:
        lines.append(text)
    else:
        lines[[other.split(":")[0] for other in lines].index(replaced)] = text
    return "\n".join(lines) + "\n"
