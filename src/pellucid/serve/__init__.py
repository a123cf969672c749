"""HTTP servers: the studio, which shows runs, records and models in a browser; GPT-3's service, which answers programs.

In: run directories, record files, names of models. Out: `Studio` and `openai.server.Service`, servers in a thread;
`write_page`, an HTML page that needs no server.

Read `wire` (the types of the studio's messages), `http/` (connections, lifetimes, keys, limits), then `studio/` and `openai/`.
"""

from pellucid.serve.studio.server import PORT, Studio
from pellucid.serve.studio.static_page import write_page


__all__ = ["PORT", "Studio", "write_page"]
