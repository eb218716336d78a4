"""A bug for the state machine to find: of what no answer came is taken to be not executed, and told again."""

from __future__ import annotations

from imaprouter.binder import correction
from imaprouter.errors import PortalBusy

#: Every class of which no unknown outcome is one: such an error is temporary, so the claim is given back.
PLANTS = ((correction, "PortalOutcomeUnknown", PortalBusy),)
