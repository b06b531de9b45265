"""Lay out what a machine can encode with: the same for this machine and for a worker elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ffcluster.core.load import GpuLoad, WorkerLoad
from ffcluster.core.model import Capability, Diagnosis, Measurement, PluginSummary
from ffcluster.interfaces.cli.output import megabytes, table


def device_in_words(device: str) -> str:
    """A device as a person reads it."""
    return device or "CPU"


def devices_of(capabilities: Iterable[Capability]) -> str:
    """The devices of some capabilities, the CPU last."""
    names = dict.fromkeys(c.device for c in capabilities)
    return ", ".join(device_in_words(name) for name in sorted(names, key=lambda n: (not n, n)))


def load_in_words(load: WorkerLoad) -> str:
    """How busy a machine is, on one line."""
    memory = f"{megabytes(load.memory_used_bytes)} of {megabytes(load.memory_total_bytes)} memory"
    return "; ".join([f"CPU {load.cpu_percent:.0f} %, {memory}", *map(_gpu_in_words, load.gpus)])


def _gpu_in_words(gpu: GpuLoad) -> str:
    told = [gpu.name]
    if gpu.utilisation_percent is not None:
        told.append(f"{gpu.utilisation_percent:.0f} %")
    if gpu.memory_used_bytes is not None:
        told.append(f"{megabytes(gpu.memory_used_bytes)} used")
    if gpu.temperature_c is not None:
        told.append(f"{gpu.temperature_c:.0f} \N{DEGREE SIGN}C")
    return " ".join(told)


def capabilities_table(capabilities: Sequence[Capability]) -> str:
    """What was proven to work, a row for each encoder and device."""
    if not capabilities:
        return "No encoder works here."
    rows = [
        (
            c.encoder,
            c.codec,
            c.backend,
            device_and_driver(c),
            "/".join(str(depth) for depth in c.bit_depths) or "-",
            "/".join(c.rate_modes),
            c.slots,
            c.threads or "its own choice",
            "yes" if c.hardware_decode else "no",
            c.ffmpeg or "-",
            ", ".join(c.without) or "-",
        )
        for c in capabilities
    ]
    headings = (
        "ENCODER", "CODEC", "BACKEND", "DEVICE", "BITS", "RATE", "SLOTS", "THREADS", "DECODES",
        "FFMPEG", "WITHOUT",
    )  # fmt: skip
    return table(headings, rows)


def device_and_driver(capability: Capability) -> str:
    """A device with the name and the driver that it is known by."""
    driver = f"driver {capability.driver}" if capability.driver else ""
    known = ", ".join(filter(None, (capability.device_name, driver)))
    return f"{device_in_words(capability.device)}{f' ({known})' if known else ''}"


def diagnoses_lines(diagnoses: Iterable[Diagnosis]) -> list[str]:
    """What does not work, why, and what can be done about it."""
    lines: list[str] = []
    for diagnosis in diagnoses:
        what = " ".join(
            filter(
                None,
                (
                    diagnosis.encoder or diagnosis.backend,
                    f"on {diagnosis.device}" if diagnosis.device else "",
                    f"with ffmpeg {diagnosis.ffmpeg}" if diagnosis.ffmpeg else "",
                ),
            )
        )
        without = f" (works without {diagnosis.without})" if diagnosis.without else ""
        lines.append(f"{diagnosis.trouble}: {what}: {diagnosis.cause}{without}")
        if diagnosis.hint:
            lines.append(f"  {diagnosis.hint}")
    return lines


def plugins_table(plugins: Sequence[PluginSummary]) -> str:
    """Every plugin that is installed, and whether it works."""
    rows = [
        (
            p.name,
            f"{p.distribution} {p.version}".strip() or "-",
            ", ".join(p.backends) or "-",
            p.error or ("works" if p.enabled else "switched off"),
        )
        for p in plugins
    ]
    return table(("PLUGIN", "FROM", "BACKENDS", "STATE"), rows) if rows else "No plugins."


def measurements_table(measurements: Sequence[Measurement]) -> str:
    """What was measured, a row for each encoder, device and preset."""
    rows = [
        (
            m.encoder,
            device_in_words(m.device),
            m.preset or "default",
            f"{m.width}x{m.height}",
            round(m.fps, 1),
            round(m.speed, 2),
            m.sessions,
            "-" if m.vmaf is None else f"{m.vmaf:.1f}",
            m.ffmpeg or "-",
        )
        for m in measurements
    ]
    headings = (
        "ENCODER", "DEVICE", "PRESET", "SIZE", "FRAMES/S", "SPEED", "SESSIONS", "VMAF", "FFMPEG",
    )  # fmt: skip
    return table(headings, rows) if rows else "Nothing was measured: ffcluster benchmark does."
