"""The files that an app serves to browsers: the client, both a module and a plain script."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from wsroom.asgi.handshake import Headers, read_query
from wsroom.asgi.responses import TEXT, RawHeaders, respond
from wsroom.asgi.types import Scope, Send

FOLDER = Path(__file__).parent.parent / "static"

JAVASCRIPT = "text/javascript; charset=utf-8"

# A plain script must not have an `export`, but `import { connect }` needs one. `await` is a keyword
# in a module and a name in a script. So a module parses the last line as the regular expression
# /`/, the exports, and a comment; a script parses it as a division by a string in backticks, which
# has no effect. The function around the rest keeps its names out of the page. The source file has
# none of this, because bundlers cannot convert a top-level `await` to every format.
_HEAD = '(() => { "use strict"; '
_TAIL = """\
globalThis.wsroom = { connect, WSRoomError };
globalThis.DoxWebSocket = connect;
})();
typeof await/`/; export const { connect, WSRoomError } = wsroom; export default connect; //`;
"""


class Asset:
    """A file of the package that is served over HTTP, with headers for caches."""

    def __init__(self, name: str, content_type: str) -> None:
        self._name = name
        self._content_type = content_type

    @cached_property
    def text(self) -> str:
        """The text that is served."""
        return (FOLDER / self._name).read_text(encoding="utf-8")

    @cached_property
    def etag(self) -> str:
        """The entity tag: a hash of the text."""
        return f'"{hashlib.blake2b(self.text.encode(), digest_size=12).hexdigest()}"'

    async def serve(self, scope: Scope, send: Send) -> None:
        """Answer a GET or HEAD.

        The status is 304 if the client has the text; with a `v` in the query it is cached for a
        year.
        """
        versioned = "v" in read_query(scope)
        headers: RawHeaders = [
            (b"etag", self.etag.encode()),
            (
                b"cache-control",
                b"public, max-age=31536000, immutable" if versioned else b"no-cache",
            ),
            # It holds no secret, and pages of other origins import modules only with CORS.
            (b"access-control-allow-origin", b"*"),
        ]
        if self._is_known(Headers(scope["headers"]).get("if-none-match", "")):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body"})
        else:
            await respond(scope, send, 200, self.text, self._content_type, tuple(headers))

    def _is_known(self, known: str) -> bool:
        # RFC 9110, section 13.1.2: a weak comparison, because proxies that compress weaken tags.
        tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
        return self.etag in tags or tags == ["*"]


class Client(Asset):
    """wsroom.js as served: a module and a plain script."""

    @cached_property
    def text(self) -> str:
        """The text that is served."""
        source = (FOLDER / self._name).read_text(encoding="utf-8")
        return _HEAD + source[: source.rindex("export {")] + _TAIL


def client_assets() -> dict[str, Asset]:
    """Return the client and its types, by the paths at which an app serves them."""
    return {
        "/wsroom.js": Client("wsroom.js", JAVASCRIPT),
        "/wsroom.d.ts": Asset("wsroom.d.ts", TEXT),
    }
