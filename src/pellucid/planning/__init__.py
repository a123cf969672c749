"""Estimates before anything is run: parameters, operations, memory, time and cost of a model.

In: a config (a preset's name, a directory, a config file), a number of tokens, and what is known of the machine.
Out: an `Estimate`. Every number comes from the config's own methods (`GPTConfig.parameters`, `.flops`, `.kv_bytes`) or is a
named formula over them. Nothing is allocated, and torch is not imported, except to time this machine on request (`measure`).

Read `estimate`, then `memory` and `devices`; `source` finds the config.
"""

from pellucid.planning.devices import DEVICES, DeviceSpec, device_spec
from pellucid.planning.estimate import Estimate, estimate
from pellucid.planning.source import PlannedModel, planned_model


__all__ = ["DEVICES", "DeviceSpec", "Estimate", "PlannedModel", "device_spec", "estimate", "planned_model"]
