/**
 * The film from left to right: thumbnails, the state of every segment, and what its bits cost.
 *
 * The coordinator sums segments up to as many buckets as fit on the screen. Zoom with the buttons,
 * + and -, or Ctrl and the wheel; move by dragging or with the arrow keys; Enter opens a segment.
 */

import { get } from "./api.js";
import { density, sentence } from "./buckets.js";
import { h } from "./dom.js";
import { timecode } from "./format.js";
import { color, fill, fit, onColors, step } from "./paint.js";
import { Polite } from "./polite.js";
import { Thumbnails } from "./thumbnails.js";
import { SEGMENT_STATES } from "./words.js";

const PICTURES = { top: 16, height: 54 };
const STATES = { top: 74, height: 30 };
const SIZES = { top: 112, height: 40 };
const HEIGHT = 156;
const LEAST_FRAMES = 24;

/** @typedef {import("./buckets.js").Bucket} Bucket */

export class Filmstrip {
  /**
   * @param {string} jobId
   * @param {(firstFrame: number) => void} open called when a segment is chosen
   */
  constructor(jobId, open) {
    this.jobId = jobId;
    this.open = open;
    this.first = 0;
    this.stop = 0;
    this.frames = 0;
    this.fps = 25;
    /** @type {Bucket[]} */
    this.buckets = [];
    this.cursor = 0;
    this.selected = -1;
    this.fetching = new Polite(() => this.load());
    this.drawing = 0;
    this.canvas = document.createElement("canvas");
    this.element = h(
      "div",
      {
        class: "filmstrip",
        tabindex: "0",
        role: "slider",
        "aria-label": "Segments of the film",
        "aria-valuemin": "0",
        "aria-valuemax": "0",
        "aria-valuenow": "0",
        "aria-valuetext": "Nothing yet",
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event),
        onpointerdown: (/** @type {PointerEvent} */ event) => this.onDown(event),
        onpointermove: (/** @type {PointerEvent} */ event) => this.onMove(event),
        onpointerup: (/** @type {PointerEvent} */ event) => this.onUp(event),
        onpointercancel: () => (this.drag = null),
        onfocus: () => this.draw(),
        onblur: () => this.draw(),
      },
      this.canvas,
    );
    this.element.addEventListener(
      "wheel",
      (/** @type {WheelEvent} */ event) => this.onWheel(event),
      { passive: false },
    );
    this.thumbnails = new Thumbnails(jobId, PICTURES.height * (devicePixelRatio > 1 ? 2 : 1), () =>
      this.draw(),
    );
    this.resized = new ResizeObserver(() => this.fetching.hurry());
    this.resized.observe(this.element);
    this.uncolor = onColors(() => this.draw());
    /** @type {{x: number, first: number, moved: boolean} | null} */
    this.drag = null;
  }

  close() {
    this.fetching.close();
    this.closed = true;
    this.resized.disconnect();
    this.uncolor();
    this.thumbnails.close();
  }

  get width() {
    return this.element.clientWidth;
  }

  /** Fetch what is in view, soon. */
  fetch() {
    this.fetching.ask();
  }

  async load() {
    if (!this.width) return;
    const view = this.stop ? { first: Math.floor(this.first), stop: Math.ceil(this.stop) } : {};
    const buckets = Math.max(20, Math.min(400, Math.floor(this.width / 3)));
    this.take(await get(`/jobs/${encodeURIComponent(this.jobId)}/filmstrip`, { ...view, buckets }));
  }

  /** @param {any} strip */
  take(strip) {
    this.buckets = strip.buckets;
    const whole = this.stop === 0 || (this.first === 0 && this.stop === this.frames);
    this.frames = strip.frame_count ?? 0;
    if (strip.duration_s && this.frames) this.fps = this.frames / strip.duration_s;
    if (whole) [this.first, this.stop] = [0, this.frames];
    this.draw();
  }

  /**
   * Take in what became of segments: rows of [first_frame, frame_count, state, worker, attempts, size_bytes].
   * @param {any[][]} rows
   */
  apply(rows) {
    const single = new Map(
      this.buckets
        .filter((bucket) => bucket.segments === 1)
        .map((bucket) => [bucket.first_frame, bucket]),
    );
    let all = true;
    for (const [first, frames, state, worker, attempts, size] of rows) {
      const bucket = single.get(first);
      if (!bucket || bucket.frame_count !== frames) {
        all = false;
        continue;
      }
      Object.assign(bucket, {
        states: { [state]: frames },
        worker,
        size_bytes: size,
        retries: Math.max(0, attempts - 1),
      });
    }
    if (!all) this.fetch();
    this.draw();
  }

  // --- where things are ------------------------------------------------------------------------

  /** @param {number} frame */
  x(frame) {
    return ((frame - this.first) / Math.max(1, this.stop - this.first)) * this.width;
  }

  /** @param {number} x */
  frame(x) {
    return this.first + (x / Math.max(1, this.width)) * (this.stop - this.first);
  }

  /** @param {number} frame */
  bucketAt(frame) {
    return this.buckets.find(
      (bucket) => frame >= bucket.first_frame && frame < bucket.first_frame + bucket.frame_count,
    );
  }

  /** @param {number} factor below 1 shows less @param {number} [around] */
  zoom(factor, around = (this.first + this.stop) / 2) {
    const span = Math.min(this.frames, Math.max(LEAST_FRAMES, (this.stop - this.first) * factor));
    const share = (around - this.first) / Math.max(1, this.stop - this.first);
    this.show(around - share * span, span);
  }

  showAll() {
    this.show(0, this.frames);
  }

  /** @param {number} first @param {number} span */
  show(first, span) {
    this.first = Math.max(0, Math.min(first, this.frames - span));
    this.stop = Math.min(this.frames, this.first + span);
    this.fetching.hurry();
    this.draw();
  }

  // --- a person's hands --------------------------------------------------------------------------

  /** @param {WheelEvent} event */
  onWheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoom(Math.exp(event.deltaY / 300), this.frame(event.offsetX));
  }

  /** @param {PointerEvent} event */
  onDown(event) {
    this.drag = { x: event.clientX, first: this.first, moved: false };
    this.element.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  onMove(event) {
    if (!this.drag) return;
    const moved = event.clientX - this.drag.x;
    if (Math.abs(moved) > 4) this.drag.moved = true;
    const span = this.stop - this.first;
    if (this.drag.moved) this.show(this.drag.first - (moved / this.width) * span, span);
  }

  /** @param {PointerEvent} event */
  onUp(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag || drag.moved) return;
    this.cursor = this.frame(event.clientX - this.element.getBoundingClientRect().left);
    this.choose();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const span = this.stop - this.first;
    const bucket = this.bucketAt(this.cursor) ?? this.buckets[0];
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowRight: () => this.move(bucket ? bucket.first_frame + bucket.frame_count : 0),
      ArrowLeft: () => this.move(bucket ? bucket.first_frame - 1 : 0),
      Home: () => this.move(0),
      End: () => this.move(this.frames - 1),
      PageDown: () => this.show(this.first + span, span),
      PageUp: () => this.show(this.first - span, span),
      "+": () => this.zoom(0.5, this.cursor),
      "=": () => this.zoom(0.5, this.cursor),
      "-": () => this.zoom(2, this.cursor),
      0: () => this.showAll(),
      Enter: () => this.choose(),
      " ": () => this.choose(),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  /** @param {number} frame */
  move(frame) {
    this.cursor = Math.max(0, Math.min(this.frames - 1, frame));
    const span = this.stop - this.first;
    if (this.cursor < this.first || this.cursor >= this.stop)
      this.show(this.cursor - span / 2, span);
    else this.draw();
  }

  /** Open the segment at the cursor; of a bucket that stands for many, look closer first. */
  choose() {
    const bucket = this.bucketAt(this.cursor);
    if (!bucket || !bucket.segments) return;
    if (bucket.segments > 1)
      return this.zoom(
        Math.max(0.02, (8 * bucket.frame_count) / (this.stop - this.first)),
        this.cursor,
      );
    this.select(bucket.first_frame);
    this.open(bucket.first_frame);
  }

  /** @param {number} firstFrame -1 for none */
  select(firstFrame) {
    this.selected = firstFrame;
    if (firstFrame >= 0) this.cursor = firstFrame;
    this.draw();
  }

  // --- drawing -----------------------------------------------------------------------------------

  draw() {
    if (this.drawing || this.closed) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      if (this.width && !this.closed) this.paint();
    });
  }

  paint() {
    const context = fit(this.canvas, this.width, HEIGHT);
    this.paintPictures(context);
    const most = Math.max(1, ...this.buckets.map((bucket) => density(bucket)));
    for (const bucket of this.buckets) this.paintBucket(context, bucket, most);
    this.paintAxis(context);
    this.paintCursor(context);
    this.describe();
  }

  /** @param {CanvasRenderingContext2D} context */
  paintPictures(context) {
    const tile = PICTURES.height * (16 / 9);
    const raw = ((this.stop - this.first) * tile) / Math.max(1, this.width);
    // Steps are powers of two, so that moving and zooming ask for the same pictures again.
    const every = Math.max(1, 2 ** Math.ceil(Math.log2(Math.max(1, raw))));
    const wanted = [];
    for (let frame = Math.floor(this.first / every) * every; frame < this.stop; frame += every)
      wanted.push(frame);
    context.fillStyle = color("--surface-2");
    context.fillRect(0, PICTURES.top, this.width, PICTURES.height);
    for (const frame of wanted)
      this.paintPicture(context, frame, Math.min(this.frames, frame + every));
    this.thumbnails.want(this.frames ? wanted : []);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} frame @param {number} stop */
  paintPicture(context, frame, stop) {
    const bitmap = this.thumbnails.at(frame);
    if (!bitmap) return;
    const [left, right] = [this.x(frame), this.x(stop) - 1];
    const scale = Math.max((right - left) / bitmap.width, PICTURES.height / bitmap.height);
    const [w, tall] = [(right - left) / scale, PICTURES.height / scale];
    const [sx, sy] = [(bitmap.width - w) / 2, (bitmap.height - tall) / 2];
    context.drawImage(bitmap, sx, sy, w, tall, left, PICTURES.top, right - left, PICTURES.height);
  }

  /** @param {CanvasRenderingContext2D} context @param {Bucket} bucket @param {number} most */
  paintBucket(context, bucket, most) {
    const left = this.x(bucket.first_frame);
    const wide = this.x(bucket.first_frame + bucket.frame_count) - left;
    const gap = wide > 6 ? 1 : 0;
    const total = Object.values(bucket.states).reduce((sum, value) => sum + value, 0);
    let top = STATES.top;
    for (const state of SEGMENT_STATES) {
      const share = total ? (bucket.states[state] ?? 0) / total : Number(state === "pending");
      if (!share) continue;
      context.fillStyle = fill(context, state);
      context.fillRect(left, top, wide - gap, STATES.height * share);
      top += STATES.height * share;
    }
    if (bucket.retries) this.mark(context, left, wide, color("--failed"), STATES.top);
    if (bucket.speculative)
      this.mark(context, left, wide, color("--checking"), STATES.top + STATES.height - 5);
    const tall = (SIZES.height * density(bucket)) / most;
    context.fillStyle = color("--size");
    context.fillRect(left, SIZES.top + SIZES.height - tall, wide - gap, tall);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} left
   * @param {number} wide
   * @param {string} tone
   * @param {number} top
   */
  mark(context, left, wide, tone, top) {
    context.fillStyle = color("--surface");
    context.fillRect(left, top, Math.min(wide, 9), 5);
    context.fillStyle = tone;
    context.fillRect(left + 1, top + 1, Math.max(1, Math.min(wide, 9) - 2), 3);
  }

  /** @param {CanvasRenderingContext2D} context */
  paintAxis(context) {
    context.fillStyle = color("--muted");
    const span = (this.stop - this.first) / this.fps;
    const every = step(span, this.width / 90);
    const start = this.first / this.fps;
    for (let at = Math.ceil(start / every) * every; at <= start + span; at += every) {
      const x = this.x(at * this.fps);
      if (x > this.width - 30) break;
      context.fillRect(x, 9, 1, 5);
      context.fillText(timecode(at), x + 3, 11);
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  paintCursor(context) {
    const chosen = this.selected >= 0 ? this.bucketAt(this.selected) : undefined;
    if (chosen) this.outline(context, chosen, color("--text"), 2);
    const bucket = this.bucketAt(this.cursor);
    if (bucket && document.activeElement === this.element)
      this.outline(context, bucket, color("--focus"), 3);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Bucket} bucket
   * @param {string} tone
   * @param {number} line
   */
  outline(context, bucket, tone, line) {
    const left = this.x(bucket.first_frame);
    const wide = Math.max(3, this.x(bucket.first_frame + bucket.frame_count) - left);
    context.strokeStyle = tone;
    context.lineWidth = line;
    context.strokeRect(left + 1, STATES.top - 2, wide - 2, STATES.height + 4);
  }

  describe() {
    const bucket = this.bucketAt(this.cursor);
    const set = (/** @type {string} */ name, /** @type {any} */ value) =>
      this.element.setAttribute(name, String(value));
    set("aria-valuemax", Math.max(0, this.frames - 1));
    set("aria-valuenow", Math.round(this.cursor));
    set("aria-valuetext", bucket ? sentence(bucket, this.fps) : "No segment yet");
  }
}
