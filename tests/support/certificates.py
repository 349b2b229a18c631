"""A certificate for servers on this machine, and clients that trust it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """A certificate of a new authority."""

    file: str
    """The path of a file with the key and the certificates."""
    context: ssl.SSLContext
    """A client's, which trusts the authority."""

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        """Make one for 127.0.0.1 and localhost, in a file of this folder."""
        authority = trustme.CA()
        pem = folder / "server.pem"
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(pem)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return cls(str(pem), context)
