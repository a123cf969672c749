"""What a model takes before anything is run: parameters, operations, memory, time, money.

In: a shape (a preset's name, a directory, a config file), a number of tokens, and what is known of the machine.
Out: an `Estimate`. Every number comes from the shape's own methods (`GPTConfig.parameters`, `.flops`, `.kv_bytes`), or is a
named formula over them. Nothing is allocated, and torch is not imported, except to time this machine on request
(`measure`) or to read another library's config.

Read `estimate`, then `memory` and `devices`; `source` finds the shape.
"""

from pellucid.planning.devices import DEVICES, Device, device
from pellucid.planning.estimate import Estimate, estimate
from pellucid.planning.source import Planned, find


__all__ = ["DEVICES", "Device", "Estimate", "Planned", "device", "estimate", "find"]
