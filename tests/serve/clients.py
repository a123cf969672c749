"""Programs that tests run against a service with an interpreter that has the client.

Argument 1 is the address, argument 2 a request of a seed, or what the harness is to do. Each prints one JSON object.
"""

OPENAI = """
import asyncio, json, sys
import openai
url, body = sys.argv[1], json.loads(sys.argv[2])
client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)

def joined(events):
    texts = {}
    for event in events:
        for choice in event.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    return [texts[index] for index in sorted(texts)]

async def asked():
    other = openai.AsyncOpenAI(base_url=url + "/v1", api_key="none")
    answer, *many = await asyncio.gather(*(other.completions.create(**body) for _ in range(5)))
    stream = await other.completions.create(**body, stream=True, stream_options={"include_usage": True})
    events = [event async for event in stream]
    return answer.model_dump()["choices"], len({one.choices[0].text for one in many}), joined(events), dict(events[-1].usage)

def refused(**fields):
    try:
        client.completions.create(**{**body, **fields})
    except openai.APIStatusError as error:
        found = [error.status_code, error.param, error.code, error.type, bool(error.request_id), str(error)]
        return [type(error).__name__, *found]

raw = client.completions.with_raw_response.create(**body)
with client.completions.with_streaming_response.create(**body) as response:
    streamed_raw = json.loads(b"".join(response.iter_bytes()))
found = {
    "sync": client.completions.create(**body).model_dump()["choices"],
    "stream": joined(client.completions.create(**body, stream=True)),
    "raw": raw.parse().model_dump()["choices"], "version": raw.headers["openai-version"], "id": bool(raw.request_id),
    "streamed_raw": streamed_raw["choices"],
    "nulls": len(client.completions.create(model=body["model"], prompt=None, suffix=None, stop=None, logit_bias=None).choices),
    "extra": client.completions.create(**body, extra_body={"top_k": 1}).choices[0].text,
    "refused": [refused(temperature=3), refused(model="none"), refused(extra_body={"messages": []})],
    "models": [model.id for model in client.models.list()], "model": client.models.retrieve(body["model"]).id,
    "legacy": openai.OpenAI(base_url=url + "/v1/engines/" + body["model"].replace("/", "%2F"), api_key="x")
    .completions.create(**body).model_dump()["choices"],
    "azure": openai.AzureOpenAI(azure_endpoint=url, api_key="x", api_version="2023-05-15")
    .completions.create(**body).model_dump()["choices"],
}
found["async"], found["distinct"], found["async_stream"], found["usage"] = asyncio.run(asked())
print(json.dumps(found))
"""

OPENAI_2020 = """
import json, sys
import openai
url, body = sys.argv[1], json.loads(sys.argv[2])
openai.api_base, openai.api_key = url + "/v1", "none"
engine = {**body, "engine": body["model"]}
del engine["model"]
texts = {}
for event in openai.Completion.create(**body, stream=True):
    for choice in event["choices"]:
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
errors = []
for fields in ({"temperature": 3}, {"model": "none"}):
    try:
        openai.Completion.create(**{**body, **fields})
    except openai.error.OpenAIError as error:
        errors.append([type(error).__name__, error.http_status, str(error)])
print(json.dumps({
    "model": openai.Completion.create(**body)["choices"], "engine": openai.Completion.create(**engine)["choices"],
    "stream": [texts[index] for index in sorted(texts)], "errors": errors,
    "engines": [one["id"] for one in openai.Engine.list()["data"]],
    "models": [one["id"] for one in openai.Model.list()["data"]],
    "retrieved": openai.Model.retrieve(body["model"])["id"],
}))
"""

HARNESS = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
url, asked = sys.argv[1], json.loads(sys.argv[2])
found = {}
tasks = TaskManager(include_path=asked["tasks"])
# Of an API the harness counts in max_length the token that it asks for, and one more where it rolls over a text: its own back
# end has the same windows with two less.
api = {"model": asked["model"], "base_url": url + "/v1/completions", "max_length": asked["n_ctx"] + 1}
local = {"pretrained": asked["exported"], "dtype": "float32", "max_length": asked["n_ctx"] - 1}
for name, model, arguments, size in (
    ("api", "local-completions", api, 1), ("batched", "local-completions", api, 4),
    ("concurrent", "local-completions", {**api, "num_concurrent": 3}, 2), ("hf", "hf", local, 2),
):
    done = simple_evaluate(
        model=model, model_args=arguments, tasks=asked["names"], task_manager=tasks, batch_size=size, device="cpu",
        bootstrap_iters=0, log_samples=True,
    )
    found[name] = {
        task: [[one["doc_id"], one["resps"], one["filtered_resps"]] for one in sorted(samples, key=lambda one: one["doc_id"])]
        for task, samples in done["samples"].items()
    }
print("\\n" + json.dumps(found))
"""
