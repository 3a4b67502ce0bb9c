"""Rows as an older schema version had them, for tests."""

from rdbench.results import older


def as_of(table, rows, version):
    """Rows of a table of now in the columns of a version."""
    names = [name for name in rows.schema.names if older.columns(table, version, [name])]
    return rows.select(names).rename_columns(older.columns(table, version, names))
