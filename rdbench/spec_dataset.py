"""A dataset's options as the command line gives them, without a sweep file."""

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from rdbench import datasets
from rdbench.datasets import DatasetOptions
from rdbench.spec_errors import from_validation
from rdbench.spec_fields import DatasetField
from rdbench.yaml_lines import Document, Place, override


def load_dataset_options(name: str, overrides: Sequence[str] = ()) -> DatasetOptions:
    """Validate a dataset's options as the command line gives them.

    Args:
        name: of the dataset.
        overrides: its options, such as ``path=photos``; the values are YAML.

    Raises:
        SpecError: there is no such dataset, or an option is not valid.
    """
    document = Document({"name": name}, {(): Place(0, 0, "dataset")})
    for text in overrides:
        document = override(document, text)
    try:
        options: DatasetOptions = TypeAdapter(DatasetField).validate_python(
            document.data, context={"folders": ()}
        )
    except ValidationError as error:
        known = list(datasets.get(name).options.model_fields) if name in datasets.names() else []
        raise from_validation(error, document, lambda at: known, "--set {}=...") from None
    return options
