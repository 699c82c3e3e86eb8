"""A finished profile as a file of gemopt."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.measure.session import Point
from gemopt_gpu_bench.profile.profile import GpuProfile
from gemopt_gpu_bench.profile.settings import DUTY
from gemopt_gpu_bench.stats import Errors

if TYPE_CHECKING:
    from gemopt.files.profile_file import Profile


def to_profile(
    outcome: GpuProfile, ceilings: devices.Ceilings | None = None
) -> "Profile":
    """Build the profile document of an outcome.

    Parameters
    ----------
    outcome
        What `gemopt_gpu_bench.profile.profile.profile` returned.
    ceilings
        Measured ceilings of the card, if any.
    """
    from gemopt.files.profile_file import Fit, Profile, ProfilePoint

    run = outcome.run
    device = devices.describe(run.session.layer.x.device, run.session.clocks)
    device["multiprocessors_granted"] = run.sms
    if ceilings is not None:
        device["copy_tbps"] = round(ceilings.tbps, 3)
        device["matmul_tflops"] = round(ceilings.tflops, 1)
    settings = run.settings
    table = run.session.backend.table
    return Profile(
        name=_name(outcome),
        device=device,
        shape={
            "model": settings.model,
            "hidden": settings.hidden,
            "intermediate": settings.intermediate,
            "experts": settings.experts,
            "total_experts": settings.total_experts,
            "dtype": str(run.session.layer.x.dtype).removeprefix("torch."),
        },
        backend={
            "name": settings.backend,
            "tiles": None if table is None else table.to_json(),
        },
        measurement=_measurement(outcome),
        points=tuple(
            ProfilePoint(point.load.counts, _rounded(point), _extra(point))
            for point in run.points
            if point.samples_us
        ),
        fits=tuple(
            Fit(fit.model, _validation(fit.family, fit.validation, fit.trace))
            for fit in outcome.fits
        ),
        latency=outcome.fits[0].model,
    )


def _name(outcome: GpuProfile) -> str:
    device = outcome.run.session.layer.x.device
    card, sms = devices.card_name(device), outcome.run.sms
    return card if sms == devices.multiprocessors(device) else f"{card}-{sms}sm"


def _rounded(point: Point) -> tuple[float, ...]:
    return tuple(round(us, 2) for us in point.samples_us)


def _extra(point: Point) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "kind": point.load.kind,
        "mean_tokens": round(point.load.mean_tokens, 6),
        "at_s": round(point.at_s, 2),
    }
    if point.reading is not None:
        extra |= {
            "sm_mhz": point.reading.sm_mhz,
            "power_w": round(point.reading.power_w),
            "temperature_c": point.reading.temperature_c,
            "clock_reasons": point.reading.reasons,
        }
    return extra


def _validation(family: str, held_out: Errors, trace: Errors | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "family": family,
        "mape": round(held_out.mape, 5),
        "p95": round(held_out.p95, 5),
        "worst": round(held_out.worst, 5),
        "points": held_out.count,
    }
    if trace is not None:
        record |= {
            "trace_mape": round(trace.mape, 5),
            "trace_p95": round(trace.p95, 5),
            "trace_points": trace.count,
        }
    return record


def _measurement(outcome: GpuProfile) -> dict[str, Any]:
    run = outcome.run
    anchors = np.array([p.us for p in run.session.anchors if p.samples_us])
    drift = float(np.ptp(anchors) / np.median(anchors)) if len(anchors) else 0.0
    kinds = [p.load.kind for p in run.points]
    return {
        "mode": run.settings.mode,
        "duty": DUTY[run.settings.mode],
        "seed": run.settings.seed,
        "max_tokens": run.settings.max_tokens,
        "seconds": round(outcome.seconds, 1),
        "points": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "weight_copies": run.session.layer.copies,
        "missed_targets": outcome.missed,
        "throttled_points": sum(p.throttled for p in run.points),
        "skipped": [p.note for p in run.points if p.note],
        "anchor_drift": round(drift, 5),
        "fingerprint": [
            {
                "tokens": cold.load.tokens,
                "cold_us": _rounded(cold),
                "hot_us": _rounded(hot),
                "hot_clock_reasons": hot.reading.reasons if hot.reading else None,
            }
            for cold, hot in outcome.cold_hot
        ],
        "hot_over_cold": [
            round(hot.us / cold.us - 1, 5) for cold, hot in outcome.cold_hot
        ],
    }
