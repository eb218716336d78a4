"""Header bytes to `Envelope`; the only importer of mail-parser. Never raises on what a message says.

fields          raw bytes → header fields, whatever stands between them
charset         bytes → text: white-listed charsets, raw 8-bit
words           RFC 2047 encoded words
addresses       address fields → Address
ids             Message-ID, In-Reply-To, References, Thread-Index
dates           Date → instant
authentication  Authentication-Results → what servers say of From
nature          client, bounce, auto-reply, list, system or notification
parse           all of it → Envelope
report          a bounce's body → the ids that came back
forward         a forwarded message → the letters attached to it
"""

from imaprouter.mail.addresses import addresses_in
from imaprouter.mail.fields import HEADER_FIELDS, looks_like_email
from imaprouter.mail.forward import with_attached
from imaprouter.mail.parse import parse
from imaprouter.mail.report import returned_ids

__all__ = ["HEADER_FIELDS", "addresses_in", "looks_like_email", "parse", "returned_ids", "with_attached"]
