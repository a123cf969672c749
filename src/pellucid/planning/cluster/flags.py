"""The options of other trainers that ask for a layout: torchtitan's and Megatron-LM's, by the names that they document.

Names were read in torchtitan's `torchtitan/config` (commits 0014ac2 and 15e2431) and in Megatron Core's parallelism guide and
activation recomputation page (0.18). Their memory is not exactly that of `memory`: Megatron gathers the inputs that sequence
parallelism cuts again in the backward pass, and keeps gradients in another place.
"""

from pellucid.planning.cluster.layout import Layout
from pellucid.planning.cluster.memory import GATHERED_BY_BLOCK
from pellucid.planning.cluster.search import PlannedTraining


def torchtitan_flags(workload: PlannedTraining, layout: Layout) -> list[str]:
    """Options of `torchtitan`, and after a "#" what it has no option for."""
    mesh = layout.mesh
    a_rank = layout.micro_batch * (layout.micro_batches if mesh.pp > 1 else 1)
    flags = [
        f"--training.seq_len {workload.context}",
        f"--training.local_batch_size {a_rank}",
        f"--training.global_batch_size {layout.sequences}",
        f"--parallelism.data_parallel_replicate_degree {mesh.replicate}",
        f"--parallelism.data_parallel_shard_degree {mesh.dp}",
        f"--parallelism.tensor_parallel_degree {mesh.tp}",
        f"--parallelism.pipeline_parallel_degree {mesh.pp}",
        f"--parallelism.context_parallel_degree {mesh.cp}",
    ]
    if layout.shard != "none":
        reshard = "always" if layout.shard in GATHERED_BY_BLOCK else "never"
        flags.append(f"--parallelism.fsdp_reshard_after_forward {reshard}")
    if mesh.pp > 1:
        schedule = "1F1B" if layout.schedule == "1f1b" else "Interleaved1F1B"
        flags += [
            f"--parallelism.pipeline_parallel_schedule {schedule}",
            f"--parallelism.pipeline_parallel_microbatch_size {layout.micro_batch}",
            f"--parallelism.pipeline_parallel_layers_per_stage {workload.config.n_layers // layout.stages}",
            "--parallelism.pipeline_parallel_first_stage_less_layers 0",
            "--parallelism.pipeline_parallel_last_stage_less_layers 0",
        ]
    if layout.shard == "deferred":
        flags.append("--parallelism.fsdp_defer_gradient_reduction")
    flags.append(f"--activation_checkpoint.mode {'none' if layout.recompute == 'none' else 'full'}")
    if layout.recompute == "half":
        flags.append("# every second block: no such option; full computes all of them again")
    return flags


def megatron_flags(workload: PlannedTraining, layout: Layout) -> list[str]:
    """Options of Megatron-LM's `pretrain_gpt.py`, and after a "#" what it has no option for."""
    mesh, config = layout.mesh, workload.config
    each = config.n_layers // layout.stages
    flags = [
        f"--num-layers {config.n_layers}", f"--hidden-size {config.d_model}", f"--num-attention-heads {config.n_heads}",
        f"--seq-length {workload.context}", f"--max-position-embeddings {config.n_ctx}",
        f"--micro-batch-size {layout.micro_batch}", f"--global-batch-size {layout.sequences}",
        f"--tensor-model-parallel-size {mesh.tp}", f"--pipeline-model-parallel-size {mesh.pp}",
        f"--context-parallel-size {mesh.cp}",
    ]  # fmt: skip
    if workload.value == 2:
        flags.append("--bf16")
    if mesh.tp > 1:
        flags.append("--sequence-parallel")
    if layout.schedule == "interleaved":
        flags.append(f"--num-layers-per-virtual-pipeline-stage {each}")
    if layout.shard == "optimizer":
        flags.append("--use-distributed-optimizer")
        if mesh.replicate > 1:
            flags.append(f"--num-distributed-optimizer-instances {mesh.replicate}")
    elif layout.shard != "none":
        strategy = "optim_grads" if layout.shard == "gradients" else "optim_grads_params"
        flags += ["--use-megatron-fsdp", f"--data-parallel-sharding-strategy {strategy}"]
    if layout.recompute != "none":
        count = each if layout.recompute == "full" else (each + 1) // 2
        flags += ["--recompute-granularity full", "--recompute-method block", f"--recompute-num-layers {count}"]
    if not all(str(pattern) == "dense" for pattern in config.pattern):
        flags.append("# banded blocks: --window-size and --window-attn-skip-freq, which need Transformer Engine")
    return flags
