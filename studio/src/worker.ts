// Entry point of worker.js: the page's model, in a worker of its own. A page from disk cannot load a file, so this script
// comes in the page; weights and kernel are sent to it.

import type { FromWorker, OpenMessage, ToWorker } from "./page/messages.ts";
import { Session } from "./page/session.ts";
import { RefusedError } from "./record/bytes.ts";

const channel = new MessageChannel();
const turns: (() => void)[] = [];
channel.port1.onmessage = () => turns.shift()?.();
let paused = performance.now();
const EVERY = 12; // milliseconds of work between two looks at the messages

/** Lets other messages in, now and then: timers would wait four milliseconds each. */
async function pause(): Promise<void> {
  if (performance.now() - paused < EVERY) return;
  await new Promise<void>((resolve) => {
    turns.push(resolve);
    channel.port2.postMessage(null);
  });
  paused = performance.now();
}

const send = (message: FromWorker, ...transfer: Transferable[]) => postMessage(message, { transfer });
const writing = new Set<number>(); // jobs that nobody has stopped
let session: Promise<Session> | null = null;

async function open({ version, ...files }: OpenMessage): Promise<Session> {
  const freshSeed = () => BigInt(crypto.getRandomValues(new Uint32Array(1))[0]!);
  const machine = { platform: "browser", browser: navigator.userAgent };
  const opened = await Session.open(files, { version, machine, freshSeed, pause });
  send({ kind: "opened", running: { variant: opened.kernel.variant } });
  return opened;
}

onmessage = async ({ data }: MessageEvent<ToWorker>): Promise<void> => {
  const job = data.kind === "open" ? null : data.job;
  try {
    if (data.kind === "open") {
      session = open(data);
      await session;
    } else if (data.kind === "stop") {
      writing.delete(data.job);
    } else if (data.kind === "verify") {
      const report = await (await session!).verify(data.bytes, (done, all) => send({ kind: "progress", job: data.job, done, all }));
      send({ kind: "report", job: data.job, report });
    } else if (data.kind === "prime") {
      send({ kind: "primed", job: data.job, answers: await (await session!).prime(data.request) });
    } else {
      writing.add(data.job);
      await (await session!).generate(
        data.request,
        (event) => send({ kind: "event", job: data.job, event }),
        (bytes) => send({ kind: "record", job: data.job, bytes }, bytes.buffer),
        () => !writing.has(data.job),
      );
      send({ kind: "ended", job: data.job });
    }
  } catch (error) {
    const { fitting } = error instanceof RefusedError ? error : {};
    send({ kind: "failed", job, error: (error as Error).message, ...(fitting ? { fitting } : {}) });
  } finally {
    if (job !== null) writing.delete(job);
  }
};
