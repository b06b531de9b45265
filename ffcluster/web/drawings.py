"""Drawings in a report: SVG of a film, of a Gantt chart and of sizes, with their colours.

What tells states apart is a pattern as well as a colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ffcluster.core.picturing import Bucket, Lane
from ffcluster.web.filmstrip import Filmstrip
from ffcluster.web.gantt import Gantt

_WIDTH = 1000
_STATES = ("committed", "checking", "assigned", "pending", "missing")
_ENDS = ("committed", "failed", "superseded", "returned", "live", "mixed")


def _legend(classes: Sequence[str], counts: Mapping[str, int]) -> str:
    items = "".join(
        f'<li><svg width="14" height="14" aria-hidden="true"><rect width="14" height="14" '
        f'class="{name}"/></svg> {name} {counts[name]:,}</li>'
        for name in classes
        if counts.get(name)
    )
    return f"<ul class=legend>{items}</ul>"


def film_drawing(film: Filmstrip) -> str:
    """A film in buckets, by the state of its frames."""
    if not film.buckets:
        return ""
    counts = {
        name: sum(getattr(bucket.states, name) for bucket in film.buckets) for name in _STATES
    }
    scale = _WIDTH / max(1, film.stop - film.first)
    bars = "".join(_bucket(bucket, film.first, scale) for bucket in film.buckets)
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} 40" role="img" preserveAspectRatio="none" class=strip '
        f'aria-label="The film by state of its segments">{bars}</svg>'
    )
    return f"{drawing}{_legend(_STATES, counts)}<p>Numbers are frames.</p>"


def _bucket(bucket: Bucket, first: int, scale: float) -> str:
    """A bucket's frames by state, one above the other, with what is known of it as its title."""
    left, width = (bucket.first_frame - first) * scale, bucket.frame_count * scale
    shapes, top = [], 0.0
    for name in _STATES:
        part = 40 * getattr(bucket.states, name) / bucket.frame_count
        if part:
            shapes.append(_rectangle(left, top, width, part, name))
            top += part
    told = [
        f"frames {bucket.first_frame} to {bucket.first_frame + bucket.frame_count - 1}",
        f"{bucket.segments} segments" if bucket.segments > 1 else "",
        " ".join(filter(None, (bucket.worker, bucket.encoder))),
        in_bytes(bucket.size_bytes) if bucket.size_bytes is not None else "",
        f"{bucket.retries} retries" if bucket.retries else "",
    ]
    return f"<g><title>{escape('; '.join(filter(None, told)))}</title>{''.join(shapes)}</g>"


def _rectangle(left: float, top: float, width: float, height: float, name: str) -> str:
    return (
        f'<rect x="{left:.2f}" y="{top:.2f}" width="{max(width, 0.5):.2f}" '
        f'height="{height:.2f}" class="{name}"/>'
    )


def gantt_drawing(gantt: Gantt) -> str:
    """Attempts as bars, in a lane for each worker."""
    if not gantt.lanes:
        return ""
    counts: dict[str, int] = {}
    for lane in gantt.lanes:
        for bar in lane.bars:
            counts[bar.end] = counts.get(bar.end, 0) + bar.merged
    scale = _WIDTH / max(1e-6, gantt.to_s - gantt.from_s)
    rows = "".join(_lane(lane, gantt, scale) for lane in gantt.lanes)
    axis = f"<p class=axis><span>0 s</span><span>{clock(gantt.to_s)}</span></p>"
    more = f"<p>{gantt.left_out:,} more workers are not drawn.</p>" if gantt.left_out else ""
    return f"<div class=lanes>{rows}</div>{axis}{_legend(_ENDS, counts)}{more}"


def _lane(lane: Lane, gantt: Gantt, scale: float) -> str:
    # Attempts that ran side by side are drawn below each other.
    ends: list[float] = []
    shapes = []
    for bar in lane.bars:
        end_s = gantt.to_s if bar.end_s is None else bar.end_s
        row = next((n for n, free in enumerate(ends) if free <= bar.start_s), len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = end_s
        told = [
            f"{bar.merged} attempts" if bar.merged > 1 else f"attempt {bar.epoch}",
            f"{bar.frame_count} frames from {bar.first_frame}",
            f"{bar.start_s:.1f} s to {end_s:.1f} s",
            bar.end,
            f"{bar.encoder} {bar.device}".strip(),
            "speculative" if bar.speculative else "",
            "in place of hardware" if bar.fallback else "",
        ]
        left, width = (bar.start_s - gantt.from_s) * scale, (end_s - bar.start_s) * scale
        shape = _rectangle(left, row * 14 + 1, width, 12, bar.end)
        shapes.append(f"<g><title>{escape('; '.join(filter(None, told)))}</title>{shape}</g>")
    height = max(1, len(ends)) * 14
    return (
        f'<div class=lane><span>{escape(lane.worker)}</span><svg viewBox="0 0 {_WIDTH} {height}" '
        f'height="{height}" role="img" preserveAspectRatio="none" '
        f'aria-label="{escape(lane.worker)}">{"".join(shapes)}</svg></div>'
    )


def size_drawing(buckets: Sequence[Bucket]) -> str:
    """Bytes per frame along the film."""
    made = [bucket for bucket in buckets if bucket.size_bytes is not None]
    if not made:
        return ""
    rates = [(bucket, (bucket.size_bytes or 0) / bucket.frame_count) for bucket in made]
    most = max(rate for _, rate in rates) or 1.0
    first = buckets[0].first_frame
    stop = buckets[-1].first_frame + buckets[-1].frame_count
    scale = _WIDTH / max(1, stop - first)
    bars = "".join(
        f"<g><title>frames {bucket.first_frame} and {bucket.frame_count - 1} more: "
        f"{in_bytes(round(rate))} a frame</title>"
        + _rectangle(
            (bucket.first_frame - first) * scale,
            80 - 80 * rate / most,
            bucket.frame_count * scale,
            80 * rate / most,
            "size",
        )
        + "</g>"
        for bucket, rate in rates
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} 80" role="img" preserveAspectRatio="none" class=strip '
        f'aria-label="Bytes per frame along the film">{bars}</svg>'
        f"<p>Bytes per frame along the film; most: {in_bytes(round(most))} a frame.</p>"
    )


# --- words ---------------------------------------------------------------------------------------


def in_bytes(count: int) -> str:
    """A number of bytes for a person."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def clock(seconds: float) -> str:
    """A length of time for a person."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#5a6472;--line:#d5dae1;
--good:#1a7f4b;--bad:#c0392b;--busy:#2468b4;--odd:#8a5a00;--none:#9aa3ad}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebef;--paper:#14181d;--soft:#a3adb9;--line:#343b44;
--good:#3fb37a;--bad:#ef6f61;--busy:#5aa2ee;--odd:#d9a441;--none:#6b7580}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:70rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem;margin:.2rem 0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
.state{display:inline-block;margin:0;padding:.1rem .6rem;border:1px solid;border-radius:1rem;
font-size:.85rem;color:var(--soft)}
.state.Completed{color:var(--good)}.state.Failed{color:var(--bad)}
.notices{padding-left:1.2rem;color:var(--odd)}
table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.25rem .75rem .25rem 0;vertical-align:top;overflow-wrap:anywhere}
thead th{border-bottom:1px solid var(--line);color:var(--soft);font-weight:600}
.facts th{color:var(--soft);font-weight:400;min-width:12rem}
.number{text-align:right;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}.wide th,.wide td{overflow-wrap:break-word}.wide td:last-child{min-width:4rem}
svg.strip{width:100%;height:60px;display:block;border:1px solid var(--line)}
.lane{display:grid;grid-template-columns:10rem 1fr;gap:.5rem;align-items:start;
border-bottom:1px solid var(--line);padding:.2rem 0;font-size:.85rem}
.lane span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.lane svg{width:100%;display:block}
.axis{display:flex;justify-content:space-between;margin:0 0 0 10.5rem;color:var(--soft);
font-size:.8rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;font-size:.85rem}
.legend svg{vertical-align:-2px}
p{color:var(--soft);font-size:.85rem}
rect{stroke:var(--paper);stroke-width:.6;vector-effect:non-scaling-stroke}
.committed{fill:var(--good)}.checking{fill:url(#checking)}.assigned,.live{fill:url(#busy)}
.pending{fill:url(#none)}.missing,.failed{fill:url(#bad)}.superseded{fill:url(#odd)}
.returned{fill:var(--none)}.mixed{fill:url(#checking)}.size{fill:var(--busy)}
.p-good{fill:var(--good)}.p-bad{fill:var(--bad)}.p-busy{fill:var(--busy)}.p-odd{fill:var(--odd)}
.p-none{fill:var(--none)}.p-paper{fill:var(--paper)}
pattern rect{stroke:none}
.defs{position:absolute;width:0;height:0}
footer{margin-top:3rem;color:var(--soft);font-size:.8rem}
@media print{body{max-width:none;padding:0}}
""".strip()


def _pattern(name: str, ink: str, gap: str, turn: int) -> str:
    """Stripes, so that nobody has to tell colours apart."""
    return (
        f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate({turn})"><rect width="6" height="6" class="p-{ink}"/>'
        f'<rect width="2" height="6" class="p-{gap}"/></pattern>'
    )


PATTERNS = (
    '<svg class=defs aria-hidden="true"><defs>'
    + _pattern("checking", "good", "paper", 45)
    + _pattern("busy", "busy", "paper", 0)
    + _pattern("bad", "bad", "paper", -45)
    + _pattern("odd", "odd", "paper", 90)
    + _pattern("none", "paper", "none", 45)
    + "</defs></svg>"
)
