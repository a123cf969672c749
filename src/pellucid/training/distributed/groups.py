"""Process groups of some ranks, beside those of the mesh of FSDP and tensor parallelism (`parallelize.device_mesh`)."""

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import init_device_mesh

from pellucid.training.mesh import Mesh


def context_group(mesh: Mesh, device: torch.device) -> ProcessGroup | None:
    """The ranks that share this one's rows."""
    if mesh.cp == 1:
        return None
    shape = mesh.pp * mesh.replicate * mesh.dp, mesh.cp, mesh.tp
    return init_device_mesh(device.type, shape, mesh_dim_names=("outer", "cp", "inner"))["cp"].get_group()


def end_groups(mesh: Mesh) -> ProcessGroup | None:
    """The ranks of the first and of the last stage that have the same part of the token matrix; None for those between."""
    mine: ProcessGroup | None = None
    size = mesh.size // mesh.pp
    for place in range(size):
        ranks = [place, place + (mesh.pp - 1) * size]
        group = dist.new_group(ranks)  # on all ranks, in the same order
        if dist.get_rank() in ranks:
            mine = group
    return mine
