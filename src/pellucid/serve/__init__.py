"""HTTP servers: the studio, which shows runs, records and models in a browser on this machine.

In: run directories, record files, names of models. Out: `Studio`, a server in a thread; `write_page`, an HTML page that needs
no server.

Read `wire` (the types of all messages), `http/` (connections, lifetimes, the same-origin check, byte ranges), then `studio/`.
"""

from pellucid.serve.studio.server import PORT, Studio
from pellucid.serve.studio.static_page import write_page


__all__ = ["PORT", "Studio", "write_page"]
