"""GPT-3's service: the completions API of 2020 to 2023, and files and fine-tuning of that time and of today, over HTTP.

In: models (`models.open_models`). Out: `server.Service`, a server in a thread.

Read `fields` (the table that validates, documents and describes), `completion_request` and `prompts` (a body becomes a
request), `completions` (a request is answered), `choices` (text, offsets, log-probabilities), `models` (engines), `api`
(routes), `front` (keys, ids, log), `server`; then `job_fields`, `files_api`, `jobs_api`, over `serve.tuning`.
"""
