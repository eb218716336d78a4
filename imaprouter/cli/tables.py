"""Tables as CSV, JSON Lines and workbooks, row by row: none is held in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import click

from imaprouter.cli.decisions import as_line
from imaprouter.errors import ConfigError

Dialect = Literal["excel", "excel-ru"]
DIALECTS: tuple[str, ...] = get_args(Dialect)

#: What makes a spreadsheet calculate.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Cell = str | int | None


def csv_lines(
    columns: Sequence[str], rows: Iterable[Mapping[str, Cell]], dialect: str = "excel"
) -> Iterator[bytes]:
    """A table in UTF-8, line by line. What would be a formula is made text by an apostrophe."""
    russian = dialect == "excel-ru"
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";" if russian else ",", lineterminator="\r\n" if russian else "\n")
    if russian:
        # The mark by which Excel knows UTF-8.
        yield b"\xef\xbb\xbf"
    writer.writerow(columns)
    for row in rows:
        yield _taken(text)
        writer.writerow([guarded(row.get(column)) for column in columns])
    yield _taken(text)


def json_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> Iterator[bytes]:
    for row in rows:
        yield f"{as_line({column: row.get(column) for column in columns})}\n".encode()


def workbook(file: Path | BinaryIO, **options: bool) -> Any:
    """A new workbook of XlsxWriter, to be closed. ConfigError where that package is missing.

    What begins with '=' is a stranger's text in it, no formula; a link is none either.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise ConfigError(
            "a workbook needs the package XlsxWriter", advice="install imaprouter with its extra 'xlsx'"
        ) from error
    return xlsxwriter.Workbook(file, {**options, "strings_to_formulas": False, "strings_to_urls": False})


def write_workbook(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> None:
    """Write a workbook of one sheet. ConfigError where the package for that is missing, or a row too many."""
    with workbook(path, constant_memory=True) as book:
        sheet = book.add_worksheet()
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, columns, book.add_format({"bold": True}))
        for number, row in enumerate(rows, 1):
            if number >= _MOST_ROWS:
                raise ConfigError(
                    f"a workbook holds no more than {_MOST_ROWS - 1} rows", advice="take --format csv"
                )
            for place, column in enumerate(columns):
                value = row.get(column)
                if isinstance(value, str):
                    sheet.write_string(number, place, value[:_MOST_LETTERS])
                elif value is not None:
                    sheet.write_number(number, place, value)


#: What Excel can hold.
_MOST_ROWS = 1_048_576
_MOST_LETTERS = 32_767


def write_lines(lines: Iterable[bytes], path: Path | None = None) -> None:
    """Each line as it comes: to standard output, or into a file that its owner alone may read."""
    if path is None:
        for line in lines:
            click.echo(line, nl=False)
        return
    make_private(path)
    with path.open("wb") as file:
        file.writelines(lines)


def make_private(path: Path) -> None:
    """What is exported holds names and addresses. ConfigError where no file can be made."""
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def guarded(value: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _taken(text: io.StringIO) -> bytes:
    content = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return content
