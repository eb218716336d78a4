"""`marker`: the text that names a deal in a subject, plain or signed."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.errors import ConfigError, PortalError, StoreError

if TYPE_CHECKING:
    from imaprouter.bitrix24.portal import Portal
    from imaprouter.model import Deal

#: Ten digits: the marker rule reads no more.
MOST_DEAL = 9_999_999_999
_FIELD = re.compile(r"UF_CRM_\w+")


@click.command()
@click.argument("deal", type=click.IntRange(1, MOST_DEAL), required=False)
@click.option("--sign", is_flag=True, help="Sign it, so that it is trusted from anyone.")
@click.option("--write-field", metavar="UF_CRM_…", help="Write it into this user field of the deal.")
@click.option("--all-active", is_flag=True, help="With --write-field: for every active deal of the index.")
@pass_app
def marker(app: App, deal: int | None, sign: bool, write_field: str | None, all_active: bool) -> None:
    """The subject marker of a deal, plain or signed; or written into a user field of the deals.

    A field that Bitrix24's mail templates put into subjects carries the marker without anyone typing it. Only
    fields that hold something else are written, the deal that was changed longest ago first: the order of the
    deals' last changes stays.

    \b
    Example:
        imaprouter marker 123 --sign
        imaprouter marker --write-field UF_CRM_MARKER --all-active
    """
    if (deal is None) is not all_active or (all_active and not write_field):
        raise ConfigError("give a deal, or --all-active with --write-field")
    key = app.settings.routing.marker.secret if sign else ""
    if sign and not key:
        raise ConfigError(
            "signing needs a key",
            advice="put a long random text into a file and name it as routing.marker.secret_file",
        )
    if write_field is None:
        _warn_of_unknown(app, deal or 0)
        click.echo(_text(deal or 0, key))
        return
    if not _FIELD.fullmatch(write_field):
        raise ConfigError(f"{write_field!r} is no user field of deals: they begin with UF_CRM_")
    deals = _deals(app, deal)
    with closing(_portal(app)) as portal:
        written, failed = _write(portal, write_field, {each.id: _text(each.id, key) for each in deals})
    click.echo(
        f"{written} of {len(deals)} deals written, {len(deals) - written - len(failed)} had it already"
    )
    for number, error in failed.items():
        click.echo(f"deal {number}: {error}", err=True)
    if failed:
        sys.exit(1)


def _warn_of_unknown(app: App, number: int) -> None:
    """A marker of a deal that does not exist names nothing; the index may also just be behind."""
    from imaprouter.store.index import Index, index_path, is_filled

    if not is_filled(app.settings.store.path):
        return
    with closing(Index(index_path(app.settings.store.path))) as index:
        known = index.deal(number)
    if known is None:
        click.echo(f"imaprouter: the deal index does not know deal {number}: is it the right one?", err=True)
    elif not known.active:
        click.echo(f"imaprouter: deal {number} is closed", err=True)


def _text(deal: int, key: str) -> str:
    from imaprouter.marker_signature import signature

    return f"#{deal}-{signature(deal, key)}" if key else f"#{deal}"


def _deals(app: App, deal: int | None) -> list[Deal]:
    """The deal, or all active ones, the one that was changed longest ago first."""
    from imaprouter.store.index import Index, index_path, is_filled

    if not is_filled(app.settings.store.path):
        raise StoreError(
            "the deal index was never filled",
            advice="run 'imaprouter cache refresh' or 'imaprouter cache import FILE'",
        )
    index = Index(index_path(app.settings.store.path))
    try:
        deals = list(index.all_deals()) if deal is None else list(filter(None, [index.deal(deal)]))
    finally:
        index.close()
    if not deals:
        raise StoreError("the deal index does not know it", advice="run 'imaprouter cache refresh'")
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    active = [each for each in deals if each.active or deal is not None]
    return sorted(active, key=lambda each: (each.modified_at or long_ago, each.id))


def _portal(app: App) -> Portal:
    from imaprouter.bitrix24.portal import Portal

    app.start_log(default=-1)
    return Portal.configured(app.settings.require_portal())


def _write(portal: Portal, name: str, texts: dict[int, str]) -> tuple[int, dict[int, PortalError]]:
    """Write where something else stands; the number written, and what failed."""
    from imaprouter.bitrix24.clients import deal_field
    from imaprouter.bitrix24.writes import set_deal_field

    present = deal_field(portal, list(texts), name)
    wanted = [number for number, text in texts.items() if present.get(number) != text]
    written, failed = 0, {}
    with click.progressbar(length=len(wanted), label="deals", file=sys.stderr) as bar:
        for start in range(0, len(wanted), 50):
            some = wanted[start : start + 50]
            answers = portal.batch([set_deal_field(number, name, texts[number]) for number in some])
            # The portal says yes to a field that does not exist.
            kept = deal_field(portal, some, name)
            for number, answer in zip(some, answers, strict=True):
                if isinstance(answer, PortalError):
                    failed[number] = answer
                elif kept.get(number) != texts[number]:
                    failed[number] = PortalError(
                        f"the portal did not keep {name}", advice="check that deals have this field as a text"
                    )
                else:
                    written += 1
            bar.update(len(some))
    return written, failed
