/**
 * Who encoded what when: a lane for each worker, a bar for each attempt.
 *
 * What a worker did side by side goes into rows of its lane. The coordinator merges bars that are too
 * short to be seen. Only the lanes in view are fetched and drawn, so a thousand workers cost as much
 * as twenty. A table beside it says the same to those who do not see it.
 */

import { get } from "./api.js";
import { h } from "./dom.js";
import { duration, timecode } from "./format.js";
import { color, fill, fit, onColors, step } from "./paint.js";
import { Polite } from "./polite.js";
import { END_WORDS } from "./words.js";

const ROW = 22;
const AXIS = 20;
const MOST_HEIGHT = 360;
// Lanes that are fetched above and below those in view.
const SPARE = 12;
const BARS = 1000;

/**
 * @typedef {{epoch: number, first_frame: number, frame_count: number, start_s: number, end_s: number | null,
 *   state: string, end: string, speculative: boolean, fallback: boolean, probe: boolean,
 *   encoder: string, device: string, merged: number}} Bar
 * @typedef {{worker_id: string, worker: string, bars: Bar[]}} Lane
 * @typedef {{lane: Lane, bars: Bar[], first: boolean}} Row what a worker did at once goes into rows
 */

export class Gantt {
  /** @param {string} jobId @param {(bar: Bar) => void} open @param {() => void} changed */
  constructor(jobId, open, changed) {
    this.jobId = jobId;
    this.open = open;
    this.changed = changed;
    /** @type {Lane[]} those that were fetched */
    this.lanes = [];
    /** How many lanes there are before them, and altogether. */
    this.firstLane = 0;
    this.laneCount = 0;
    /** @type {Row[]} those of the lanes that were fetched */
    this.rows = [];
    /** @type {number[]} how many rows each lane has, as far as it was ever fetched */
    this.rowCounts = [];
    /** Rows before those, and altogether. */
    this.firstRow = 0;
    this.rowCount = 0;
    /** @type {[number, number] | null} what is in view, in seconds; null: all */
    this.view = null;
    this.from = 0;
    this.to = 1;
    this.now = 0;
    this.nowPainted = 0;
    this.leftOut = 0;
    this.selected = 0;
    this.fetching = new Polite(() => this.load());
    this.drawing = 0;
    this.canvas = document.createElement("canvas");
    this.spacer = h("div", { class: "gantt-spacer" });
    this.element = h(
      "div",
      {
        class: "gantt",
        role: "group",
        tabindex: "0",
        "aria-label": "Attempts of each worker over time; the table below lists them",
        onscroll: () => this.onScroll(),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event),
        onclick: (/** @type {MouseEvent} */ event) => this.onClick(event),
        onmousemove: (/** @type {MouseEvent} */ event) => this.onHover(event),
      },
      this.canvas,
      this.spacer,
    );
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.element);
    this.uncolor = onColors(() => this.draw());
  }

  close() {
    this.fetching.close();
    this.closed = true;
    this.resized.disconnect();
    this.uncolor();
  }

  get gutter() {
    return this.element.clientWidth < 600 ? 74 : 130;
  }

  get width() {
    return this.element.clientWidth;
  }

  /** Fetch what is in view, soon. */
  fetch() {
    this.fetching.ask();
  }

  async load() {
    const view = this.view ? { from_s: this.view[0], to_s: this.view[1] } : {};
    const [first, stop] = this.lanesInView();
    const lanes = { first_lane: Math.max(0, first - SPARE), lanes: stop - first + 2 * SPARE };
    const path = `/jobs/${encodeURIComponent(this.jobId)}/gantt`;
    this.take(await get(path, { ...view, ...lanes, bars: BARS }));
  }

  /** @param {any} gantt */
  take(gantt) {
    this.lanes = gantt.lanes;
    this.firstLane = gantt.first_lane ?? 0;
    this.laneCount = gantt.lane_count || gantt.lanes.length;
    this.now = gantt.now_s;
    this.leftOut = gantt.left_out ?? 0;
    [this.from, this.to] = this.view ?? [gantt.from_s, Math.max(gantt.to_s, gantt.from_s + 1)];
    this.arrange();
    this.changed();
    this.draw();
  }

  /** Give every lane its rows; one that was never fetched counts as one. */
  arrange() {
    this.rows = [];
    this.rowCounts.length = Math.min(this.rowCounts.length, this.laneCount);
    for (const [at, lane] of this.lanes.entries()) {
      const own = rowsOf(lane, this.now);
      this.rowCounts[this.firstLane + at] = own.length;
      this.rows.push(...own);
    }
    this.firstRow = 0;
    this.rowCount = 0;
    for (let lane = 0; lane < this.laneCount; lane += 1) {
      if (lane === this.firstLane) this.firstRow = this.rowCount;
      this.rowCount += this.rowCounts[lane] ?? 1;
    }
  }

  /** @returns {[number, number]} the first lane in view, and the one after the last */
  lanesInView() {
    const top = this.element.scrollTop / ROW;
    const bottom = top + MOST_HEIGHT / ROW;
    let [row, first, lane] = [0, 0, 0];
    for (; lane < this.laneCount && row < bottom; lane += 1) {
      row += this.rowCounts[lane] ?? 1;
      if (row <= top) first = lane + 1;
    }
    return [first, Math.max(lane, first + Math.ceil(MOST_HEIGHT / ROW))];
  }

  onScroll() {
    this.draw();
    const [first, stop] = this.lanesInView();
    const known = this.firstLane + this.lanes.length;
    if (first < this.firstLane || Math.min(stop, this.laneCount) > known) this.fetching.hurry();
  }

  /** What still runs grows without being fetched again. @param {number} now in seconds */
  advance(now) {
    if (now <= this.now || !this.laneCount) return;
    this.now = now;
    if (!this.view) this.to = Math.max(this.to, now);
    if (this.x(now) - this.x(this.nowPainted) >= 1) this.draw();
  }

  /** @param {number} factor below 1 shows less */
  zoom(factor) {
    const span = Math.max(1, (this.to - this.from) * factor);
    const middle = (this.from + this.to) / 2;
    this.show(Math.max(0, middle - span / 2), span);
  }

  /** @param {number} share of what is in view, to the left if below 0 */
  shift(share) {
    const span = this.to - this.from;
    this.show(Math.max(0, this.from + share * span), span);
  }

  showAll() {
    this.view = null;
    this.fetching.hurry();
  }

  /** @param {number} from @param {number} span */
  show(from, span) {
    this.view = [from, from + span];
    [this.from, this.to] = this.view;
    this.fetching.hurry();
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    /** @type {Record<string, () => void>} */
    const keys = {
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      0: () => this.showAll(),
      ArrowLeft: () => this.shift(-0.25),
      ArrowRight: () => this.shift(0.25),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  /** @param {MouseEvent} event @returns {[Lane, Bar] | null} */
  under(event) {
    const box = this.element.getBoundingClientRect();
    const at = Math.floor((event.clientY - box.top - AXIS + this.element.scrollTop) / ROW);
    const row = this.rows[at - this.firstRow];
    const [x, slack] = [event.clientX - box.left, 2];
    const bar = row?.bars.find(
      (one) => x >= this.x(one.start_s) - slack && x <= this.x(one.end_s ?? this.now) + slack,
    );
    return row && bar ? [row.lane, bar] : null;
  }

  /** @param {MouseEvent} event */
  onClick(event) {
    const found = this.under(event);
    if (!found) return;
    this.select(found[1].epoch);
    this.open(found[1]);
  }

  /** @param {MouseEvent} event */
  onHover(event) {
    const found = this.under(event);
    this.element.title = found ? `${found[0].worker}: ${describe(found[1])}` : "";
    this.element.classList.toggle("pointing", Boolean(found));
  }

  /** @param {number} epoch */
  select(epoch) {
    this.selected = epoch;
    this.draw();
  }

  /** @param {number} second */
  x(second) {
    return (
      this.gutter + ((second - this.from) / (this.to - this.from)) * (this.width - this.gutter)
    );
  }

  draw() {
    if (this.drawing || this.closed) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      if (this.width && !this.closed) this.paint();
    });
  }

  paint() {
    this.nowPainted = this.now;
    const whole = AXIS + Math.max(1, this.rowCount) * ROW;
    const height = Math.min(MOST_HEIGHT, whole);
    this.element.style.setProperty("height", `${height}px`);
    // The canvas stays in view while the lanes below it are scrolled.
    this.spacer.style.setProperty("height", `${whole - height}px`);
    const context = fit(this.canvas, this.width, height);
    const top = this.element.scrollTop;
    const start = Math.floor(top / ROW);
    this.paintGrid(context, height);
    for (let i = start; i < start + height / ROW + 1; i += 1) {
      const row = this.rows[i - this.firstRow];
      if (row) this.paintRow(context, row, AXIS + i * ROW - top);
    }
    this.paintAxis(context, height);
  }

  /** @param {CanvasRenderingContext2D} context @param {Row} row @param {number} top */
  paintRow(context, row, top) {
    context.fillStyle = color("--line");
    if (row.first) context.fillRect(0, top, this.width, 1);
    context.save();
    context.beginPath();
    context.rect(this.gutter, top, this.width - this.gutter, ROW);
    context.clip();
    for (const bar of row.bars) this.paintBar(context, bar, top + 3);
    context.restore();
    context.fillStyle = color("--text");
    if (row.first)
      context.fillText(shorten(context, row.lane.worker, this.gutter - 12), 4, top + 15);
  }

  /** @param {CanvasRenderingContext2D} context @param {Bar} bar @param {number} top */
  paintBar(context, bar, top) {
    const left = this.x(bar.start_s);
    const wide = Math.max(2, this.x(bar.end_s ?? this.now) - left - 1);
    const tall = ROW - 5;
    context.fillStyle = fill(context, bar.end);
    context.fillRect(left, top, wide, tall);
    if (bar.speculative) {
      context.strokeStyle = color("--checking");
      context.lineWidth = 2;
      context.setLineDash([4, 2]);
      context.strokeRect(left + 1, top + 1, wide - 2, tall - 2);
      context.setLineDash([]);
    }
    if (bar.fallback) {
      context.fillStyle = color("--failed");
      context.fillRect(left, top + tall - 3, wide, 3);
    }
    if (this.selected === bar.epoch) {
      context.strokeStyle = color("--text");
      context.lineWidth = 2;
      context.strokeRect(left, top - 1, wide, tall + 2);
    }
  }

  /** Where the axis has its marks, in seconds. */
  marks() {
    const every = Math.max(1, step(this.to - this.from, (this.width - this.gutter) / 80));
    const marks = [];
    for (let at = Math.ceil(this.from / every) * every; at <= this.to; at += every) marks.push(at);
    return marks;
  }

  /** @param {CanvasRenderingContext2D} context @param {number} height */
  paintGrid(context, height) {
    context.fillStyle = color("--line");
    for (const at of this.marks()) context.fillRect(this.x(at), AXIS - 5, 1, height);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} height */
  paintAxis(context, height) {
    context.fillStyle = color("--surface");
    context.fillRect(0, 0, this.width, AXIS);
    context.fillStyle = color("--muted");
    for (const at of this.marks()) {
      context.fillRect(this.x(at), AXIS - 5, 1, 5);
      if (this.x(at) < this.width - 34) context.fillText(timecode(at), this.x(at) + 3, 12);
    }
    if (this.now >= this.from && this.now <= this.to) {
      context.fillStyle = color("--accent");
      context.fillRect(this.x(this.now) - 1, 0, 1, height);
    }
  }
}

/**
 * A lane's bars in as few rows as keep those apart that ran side by side.
 * @param {Lane} lane
 * @param {number} now
 * @returns {Row[]}
 */
function rowsOf(lane, now) {
  /** @type {Row[]} */
  const rows = [];
  /** @type {number[]} where each row ends so far */
  const ends = [];
  for (const bar of lane.bars) {
    let at = ends.findIndex((end) => end <= bar.start_s);
    if (at < 0) at = rows.push({ lane, bars: [], first: rows.length === 0 }) - 1;
    rows[at].bars.push(bar);
    ends[at] = bar.end_s ?? now;
  }
  return rows;
}

/** One bar in words. @param {Bar} bar */
export function describe(bar) {
  const flags = [
    bar.speculative && "second attempt",
    bar.fallback && "stands in for hardware",
    bar.probe && "first of its worker",
  ];
  const length = bar.end_s === null ? "" : `, ${duration(bar.end_s - bar.start_s)}`;
  const what =
    bar.merged > 1
      ? `${bar.merged} attempts`
      : `frames ${bar.first_frame} to ${bar.first_frame + bar.frame_count - 1}`;
  return [
    `${what}, ${END_WORDS[bar.end] ?? bar.end}${length}, ${bar.encoder}`,
    ...flags.filter(Boolean),
  ].join(", ");
}

/** @param {CanvasRenderingContext2D} context @param {string} text @param {number} width */
function shorten(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = text;
  while (kept && context.measureText(`${kept}…`).width > width) kept = kept.slice(0, -1);
  return `${kept}…`;
}
