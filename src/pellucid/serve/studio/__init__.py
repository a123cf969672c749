"""The studio's server, which shows runs, records and models in the browser.

Read `sources` (what is shown), `generation` (completions as server-sent events), `app` (the routes), `server` (the server in a
thread), then `page` and `static_page` (the HTML).
"""
