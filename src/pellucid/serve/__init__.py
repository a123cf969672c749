"""The studio's server: runs, records and models go in, pages in a browser come out; nothing leaves this machine.

In: run directories, record files, names of models. Out: `Studio`, a server on this machine;
`write_page`, a page that needs none.

Read `wire` (the types of all messages), `sources` (what is shown), `guard` (who may ask), `ranges` (files by byte range),
`generate_request` (the request, checked), `generating` (one answer at a time, token by token), `app` (the addresses), `studio`
(the server itself), then `page` and `static` (the HTML).
"""

from pellucid.serve.studio.server import PORT, Studio
from pellucid.serve.studio.static_page import write_page


__all__ = ["PORT", "Studio", "write_page"]
