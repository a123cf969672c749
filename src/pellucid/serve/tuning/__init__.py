"""Fine-tuning as a service, without HTTP: the uploads, jobs and models of each key, and the process that a job runs in.

In: bytes of files, settings of jobs. Out: models that the service answers with; a job's directory is an ordinary run.

    DATA/service.sqlite    what there is, by owner        DATA/files/NAME          uploads, under random names
    DATA/runs/OWNER/JOB/   the run of a job               DATA/records/OWNER/      records of completions

An owner is the id of a key (`http.keys.Client.id`), never the key. Read `database`, `files`, `jobs`, `check`, `worker` (the
process of a job), `scheduler`, `tuned_models`.
"""
