"""The files that an app serves to browsers: the client, both a module and a plain script."""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import cached_property
from pathlib import Path

from wsroom.asgi.handshake import Headers, read_query
from wsroom.asgi.responses import JSON, TEXT, RawHeaders, respond
from wsroom.asgi.types import Scope, Send

FOLDER = Path(__file__).parent.parent / "static"

JAVASCRIPT = "text/javascript; charset=utf-8"

# A plain script must not have an `export`, but `import { connect }` needs one. `await` is a keyword
# in a module and a name in a script. So a module parses the last line as the regular expression
# /`/, the exports, and a comment; a script parses it as a division by a string in backticks, which
# has no effect. The function around the rest keeps its names out of the page. The source file has
# none of this, because bundlers cannot convert a top-level `await` to every format.
_HEAD = '(() => { "use strict";\n'
_TAIL = """\
globalThis.wsroom = { connect, WSRoomError };
globalThis.DoxWebSocket = connect;
})();
typeof await/`/; export const { connect, WSRoomError } = wsroom; export default connect; //`;
//# sourceMappingURL=wsroom.js.map
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
    def compressed(self) -> bytes:
        """The text, compressed by gzip."""
        return gzip.compress(self.text.encode(), 9, mtime=0)

    @cached_property
    def etag(self) -> str:
        """The entity tag: a hash of the text; weak, because it is the same for both encodings."""
        return f'W/"{hashlib.blake2b(self.text.encode(), digest_size=12).hexdigest()}"'

    async def serve(self, scope: Scope, send: Send) -> None:
        """Answer a GET or HEAD, compressed if the client accepts gzip.

        The status is 304 if the client has the text; with a `v` in the query it is cached for a
        year.
        """
        request = Headers(scope["headers"])
        versioned = "v" in read_query(scope)
        headers: RawHeaders = [
            (b"etag", self.etag.encode()),
            (
                b"cache-control",
                b"public, max-age=31536000, immutable" if versioned else b"no-cache",
            ),
            (b"vary", b"accept-encoding"),
            # It holds no secret, and pages of other origins import modules only with CORS.
            (b"access-control-allow-origin", b"*"),
        ]
        if self._is_known(request.get("if-none-match", "")):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body"})
            return
        content: str | bytes = self.text
        if _accepts_gzip(request.get("accept-encoding", "")):
            content = self.compressed
            headers.append((b"content-encoding", b"gzip"))
        await respond(scope, send, 200, content, self._content_type, tuple(headers))

    def _is_known(self, known: str) -> bool:
        # RFC 9110, section 13.1.2: a weak comparison.
        tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
        return self.etag.removeprefix("W/") in tags or tags == ["*"]


def _accepts_gzip(accepted: str) -> bool:
    # RFC 9110, section 12.5.3. A client that only accepts "*" gets the text as it is.
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip() == "gzip":
            weight = parameter.replace(" ", "").removeprefix("q=") or "1"
            return weight.strip("0.") != ""
    return False


class Client(Asset):
    """wsroom.js as served: minified, and both a module and a plain script."""

    @cached_property
    def text(self) -> str:
        """The text that is served."""
        source = (FOLDER / self._name).read_text(encoding="utf-8")
        return _HEAD + source[: source.rindex("export{")] + _TAIL


class SourceMap(Asset):
    """The map from the client as served to its source, which it contains."""

    @cached_property
    def text(self) -> str:
        """The text that is served."""
        source_map = json.loads((FOLDER / self._name).read_text(encoding="utf-8"))
        source_map["mappings"] = ";" + source_map["mappings"]  # the line of _HEAD
        source_map["sources"] = ["wsroom.source.js"]
        return json.dumps(source_map, separators=(",", ":"))


def client_assets() -> dict[str, Asset]:
    """Return the client, its types and its map, by the paths at which an app serves them."""
    return {
        "/wsroom.js": Client("wsroom.min.js", JAVASCRIPT),
        "/wsroom.js.map": SourceMap("wsroom.min.js.map", JSON),
        "/wsroom.d.ts": Asset("wsroom.d.ts", TEXT),
    }
