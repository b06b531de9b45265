/** Thumbnails of a job's source: few at a time, each once, those not needed any more given up. */

import { picture } from "./api.js";

const AT_ONCE = 4;
const KEPT = 240;
const AGAIN_MS = 5000;

export class Thumbnails {
  /** @param {string} jobId @param {number} height @param {() => void} arrived */
  constructor(jobId, height, arrived) {
    this.path = `/jobs/${encodeURIComponent(jobId)}/thumbnails/`;
    this.height = height;
    this.arrived = arrived;
    /** @type {Map<number, ImageBitmap>} */
    this.pictures = new Map();
    /** @type {Map<number, number>} when to ask again for one that could not be had */
    this.later = new Map();
    /** @type {number[]} */
    this.wanted = [];
    /** @type {Map<number, AbortController>} */
    this.running = new Map();
  }

  /**
   * Say which frames are in view now; the rest is not fetched any more.
   * @param {number[]} frames
   */
  want(frames) {
    const now = Date.now();
    this.wanted = frames.filter(
      (frame) => !this.pictures.has(frame) && (this.later.get(frame) ?? 0) <= now,
    );
    for (const [frame, control] of this.running) if (!frames.includes(frame)) control.abort();
    this.next();
  }

  /** @param {number} frame */
  at(frame) {
    return this.pictures.get(frame) ?? null;
  }

  next() {
    while (this.running.size < AT_ONCE && this.wanted.length) {
      const frame = /** @type {number} */ (this.wanted.shift());
      if (!this.running.has(frame)) this.fetch(frame);
    }
  }

  /** @param {number} frame */
  async fetch(frame) {
    const control = new AbortController();
    this.running.set(frame, control);
    try {
      this.put(frame, await picture(this.path + frame, { height: this.height }, control.signal));
    } catch {
      // A picture that cannot be had leaves its place empty; the film is shown all the same.
      if (!control.signal.aborted) this.later.set(frame, Date.now() + AGAIN_MS);
    }
    this.running.delete(frame);
    this.arrived();
    this.next();
  }

  /** @param {number} frame @param {ImageBitmap} bitmap */
  put(frame, bitmap) {
    this.pictures.set(frame, bitmap);
    if (this.pictures.size <= KEPT) return;
    const [oldest] = this.pictures.keys();
    this.pictures.get(oldest)?.close();
    this.pictures.delete(oldest);
  }

  close() {
    this.wanted = [];
    for (const control of this.running.values()) control.abort();
  }
}
