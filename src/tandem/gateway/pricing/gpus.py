"""The GPUs of this machine, as NVIDIA's management library (NVML) tells of them; none where there is none. It knows no price.

Source: NVML API reference, `nvmlDeviceGetUtilizationRates` and `nvmlDeviceGetMemoryInfo`, through nvidia-ml-py.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU at one moment."""

    index: int
    name: str
    busy: float
    """Share of the driver's last sample period, up to a second, in which anything ran on it."""
    used: int
    """Bytes of its memory that are taken."""
    memory: int
    """Bytes of its memory."""
    watts: float | None = None
    """What it draws; None where it does not say."""

    @property
    def told(self) -> str:
        """In one line, for people."""
        power = "" if self.watts is None else f", {self.watts:.0f} W"
        return f"{self.name}, {self.busy:.0%} busy, {self.used / 2**30:.0f} of {self.memory / 2**30:.0f} GiB{power}"


def gpus() -> tuple[Gpu, ...]:
    """Every GPU that this process may see; empty without the library, without a driver, or while it does not answer."""
    try:
        import pynvml as nvml
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple([_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount())])
    except nvml.NVMLError:
        return ()
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _gpu(nvml, index: int) -> Gpu:  # type: ignore[no-untyped-def]  # a module without types
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, memory, watts = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle), None
    with suppress(nvml.NVMLError):  # not every card says
        watts = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
    return Gpu(
        index=index,
        name=name.decode() if isinstance(name, bytes) else str(name),
        busy=min(1.0, nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
        used=int(memory.used),
        memory=int(memory.total),
        watts=watts,
    )
