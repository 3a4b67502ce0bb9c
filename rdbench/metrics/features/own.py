"""Feature networks of one's own, as an option of a metric: ``{name: fd, features: my_features.py:embed}``.

The thing is a function of images, float32 (batch, channels, height, width) of 0 to 1, that returns a vector
of each; or a function or class that is called without images and gives such a function, most often a
``torch.nn.Module``; or the module itself. Or it is a file of TorchScript: ``features: dinov2.pt``, or
``{name: dinov2.pt, resize: 224, channels: 3, normalize: imagenet}``.

No torch is imported here: see :mod:`rdbench.metrics.features.opening`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationInfo
from pydantic_core import PydanticKnownError

from rdbench.errors import SpecError
from rdbench.metrics.features import FeatureName
from rdbench.metrics.features.weights import digest_of, is_there
from rdbench.registry import plugins
from rdbench.registry.declaration import Option
from rdbench.registry.plugins import OptionError, Plugin
from rdbench.storage import paths

TORCHSCRIPT = (".pt", ".pth", ".ts", ".torchscript")
SCRIPT_OPTIONS = {
    "resize": Option(int, 0, "height and width that it takes; 0: the images'", {"ge": 0, "le": 4096}),
    "channels": Option(int, 0, "that it takes, 3 repeats grey images; 0: the images'", {"ge": 0, "le": 3}),
    "normalize": Option(str, "none", "how values are scaled", choices=("none", "half", "imagenet")),
}
"""Of a file of TorchScript. Resizing is bilinear and antialiased; ``half`` is to -1 to 1, ``imagenet`` by its
mean and standard deviation of each channel."""


class OwnFeatures(BaseModel):
    """A feature network of the user's own, settled.

    Attributes:
        name: the function's or class's, or the stem of a file of TorchScript.
        source: where it is: "package.module:thing", "file.py:thing" or "file.pt".
        code: the hash of the files it runs from; "" where they are gone.
        options: all of its options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    source: str = ""
    code: str = ""
    options: dict[str, Any] = Field(default_factory=dict)

    def as_written(self) -> str | dict[str, Any]:
        """Return it as a sweep file has it."""
        reference = self.source or self.name
        return {"name": reference, **self.options} if self.options else reference

    @property
    def identity(self) -> str:
        """What tells its values from others, as rows store it: "embed(size=3) 29a0b558445d7b54"."""
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return " ".join(filter(None, (f"{self.name}({options})" if options else self.name, self.code)))

    @property
    def is_script(self) -> bool:
        """Whether it is a file of TorchScript."""
        return self.source.endswith(TORCHSCRIPT)

    @cached_property
    def plugin(self) -> Plugin:
        """Its source, of what is no TorchScript. SpecError: it is gone, or was edited."""
        if not self.source:
            raise SpecError(f"the file of feature network {self.name} is gone")
        return plugins.settled("features", self.source, self.code)

    @property
    def missing(self) -> str | None:
        """What keeps it from being opened here, as far as that shows without torch; None if nothing does."""
        try:
            if not self.is_script:
                _ = self.plugin
            elif not is_there(Path(self.source)):
                return f"the feature network {self.source} is not there; correct it, or get the file again"
            elif digest_of(Path(self.source))[:16] != self.code:
                return f"{self.source} was changed since the sweep was read; run the same command again"
        except SpecError as error:
            return str(error)
        except OSError as error:
            return f"{self.source}: cannot be read ({error.strerror})"
        return None

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        """Tell whether two are one network, wherever each was found."""
        return self.identity == other.identity if isinstance(other, OwnFeatures) else NotImplemented


def settle(reference: str, given: Mapping[str, Any], folders: Sequence[Path]) -> OwnFeatures:
    """Return the feature network that a reference names; a relative path may start from ``folders``.

    OptionError: an option; SpecError: all else that is wrong.
    """
    if reference.endswith(TORCHSCRIPT):
        file = _script(reference, folders)
        options = plugins.settled_options(f"feature network {file.name}", SCRIPT_OPTIONS, given)
        return OwnFeatures(
            name=file.stem, source=paths.as_text(file), code=digest_of(file)[:16], options=options
        )
    plugin = plugins.find("features", reference, folders)
    if plugin.required > 1:
        names = ", ".join(plugin.inputs or ())
        raise SpecError(
            f"{plugin.line}: {plugin.symbol}({names}) takes more than images; put * before options"
        )
    if wrong := plugins.clash("features", plugin.symbol, get_args(FeatureName)):
        raise SpecError(f"{plugin.line}: {wrong}")
    options = plugin.settled(given)
    return OwnFeatures(name=plugin.symbol, source=plugin.source, code=plugin.code, options=options)


def _script(reference: str, folders: Sequence[Path]) -> Path:
    candidates = paths.candidates(reference, folders)
    for file in candidates:
        if is_there(file):
            return file.resolve()
    where = " or ".join(map(str, candidates))
    raise SpecError(f"there is no file {where}, which was given as a feature network; correct the path")


def _validated(value: object, info: ValidationInfo) -> object:
    """Return the name of one of rdbench's networks, or one of the user's own."""
    known = get_args(FeatureName)
    if isinstance(value, OwnFeatures) or (isinstance(value, str) and value in known):
        return value
    given = dict(value) if isinstance(value, Mapping) else {"name": value}
    reference, context = given.pop("name", None), info.context or {}
    own = isinstance(reference, str) and (
        reference.endswith(TORCHSCRIPT) or plugins.is_reference("features", reference)
    )
    if not own:
        expected = " or ".join(map(repr, known))
        raise PydanticKnownError("literal_error", {"expected": f"{expected}, or 'my_features.py:embed'"})
    try:
        return settle(str(reference), given, context.get("folders", ()))
    except SpecError as error:
        if context.get("stored") and "metrics" not in context.get("asked", ()):
            return OwnFeatures(name=str(reference).rpartition(":")[2], options=given)
        key = f"{error.key}: " if isinstance(error, OptionError) else ""
        raise ValueError(f"{key}{error}") from None


def _written(value: object) -> object:
    return value.as_written() if isinstance(value, OwnFeatures) else value


AnyFeatures = Annotated[
    FeatureName | OwnFeatures, PlainValidator(_validated), PlainSerializer(_written, return_type=Any)
]
"""An option of a metric: ``classifier``, ``inception``, or a feature network of the user's own."""
