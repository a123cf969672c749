// Files and fine-tuning jobs of the service that the page came from, through the API that its clients use.

import { RecordError } from "../record/bytes.ts";

/** What a check found in a file. */
export interface Finding {
  check: string;
  problem: string;
  /** What is put in its place; null where a person must. */
  mend: string | null;
  lines: number[];
  count: number;
}

export interface ExampleFile {
  id: string;
  filename: string;
  bytes: number;
  purpose: string;
  status: string;
  x_examples: number | null;
  x_findings: Finding[];
}

/** A held-out example with the answers of the model before and of the fine-tuned one. */
export interface AnswerRow {
  prompt: string;
  expected: string;
  before: string;
  after: string;
}

export interface Job {
  id: string;
  status: string;
  created_at: number;
  model: string;
  fine_tuned_model: string | null;
  training_file: string;
  error: { message: string } | null;
  x_step: number;
  x_total_steps: number | null;
  /** counts: right before, right after, of how many. */
  x_answers: { rows: AnswerRow[]; counts: [number, number, number] | null } | null;
}

export interface NewJob {
  model: string;
  training_file: string;
  suffix: string;
  epochs: number;
}

export const ENDED: readonly string[] = ["succeeded", "failed", "cancelled"];
const FILES = "/v1/files";
const JOBS = "/v1/fine_tuning/jobs";

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, { cache: "no-store", ...init });
  } catch {
    throw new RecordError("the server does not answer");
  }
  const answer = (await response.json()) as T & { error?: { message: string } };
  if (!response.ok) throw new RecordError(answer.error?.message ?? `the server answers ${response.status}`);
  return answer;
}

const post = <T>(path: string, body: unknown) =>
  ask<T>(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const listFiles = async () => (await ask<{ data: ExampleFile[] }>(`${FILES}?purpose=fine-tune`)).data;
export const listJobs = async () => (await ask<{ data: Job[] }>(`${JOBS}?limit=100`)).data;
export const listModels = async () => (await ask<{ data: { id: string }[] }>("/v1/models")).data.map((model) => model.id);
export const deleteFile = (id: string) => ask(`${FILES}/${encodeURIComponent(id)}`, { method: "DELETE" });
export const deleteModel = (id: string) => ask(`/v1/models/${encodeURIComponent(id)}`, { method: "DELETE" });
export const cancelJob = (id: string) => post<Job>(`${JOBS}/${encodeURIComponent(id)}/cancel`, {});

/** A new file with the mends of some checks, or of all. */
export const mendFile = (id: string, checks: string[] | null) => post<ExampleFile>(`${FILES}/${encodeURIComponent(id)}/x_mend`, { checks });

export function uploadFile(file: File): Promise<ExampleFile> {
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", file);
  return ask<ExampleFile>(FILES, { method: "POST", body: form });
}

export function startJob({ model, training_file, suffix, epochs }: NewJob): Promise<Job> {
  const method = { type: "supervised", supervised: { hyperparameters: { n_epochs: epochs } } };
  return post<Job>(JOBS, { model, training_file, method, ...(suffix ? { suffix } : {}) });
}
