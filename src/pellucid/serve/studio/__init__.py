"""The studio's server, which shows runs, records and models in the browser.

Read `sources` (what is shown), `loaded_model` (the model in memory), `generation` (completions as server-sent events), `app`
(the routes), `server` (the server in a thread), then `page` and `static_page` (the HTML).
"""
