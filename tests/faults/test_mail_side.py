"""Faults of the mail server, of the line to it and of what lies in the mailbox."""

from __future__ import annotations

from faults.harness import Site


def test_no_fault(site: Site) -> None:
    """The harness itself."""
    with site.case():
        site.post()


def test_fin_in_idle(site: Site) -> None:
    with site.case(idle=3):
        site.mail.fin()
        site.post()


def test_rst_in_idle(site: Site) -> None:
    with site.case():
        site.mail.rst()
        site.post()
