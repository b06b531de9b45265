/**
 * Fetches something again and again without being a burden: never twice at once, not while nobody
 * looks, and the more it takes the more rarely.
 */

const LEAST_PAUSE_MS = 2000;
// At most a twentieth of the time is spent with fetching.
const SHARE = 20;

export class Polite {
  /** @param {() => Promise<void>} work */
  constructor(work) {
    this.work = work;
    this.timer = 0;
    this.running = false;
    /** @type {"" | "soon" | "now"} asked for while it ran */
    this.wanted = "";
    this.next = 0;
    this.closed = false;
    this.shown = () => this.wanted && this.ask();
    document.addEventListener("visibilitychange", this.shown);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.shown);
  }

  /** Something changed. */
  ask() {
    this.schedule("soon", Math.max(0, this.next - Date.now()));
  }

  /** A person wants to see something else. */
  hurry() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.schedule("now", 0);
  }

  /** @param {"soon" | "now"} how @param {number} wait */
  schedule(how, wait) {
    if (this.closed || this.timer) return;
    if (this.running || document.hidden) {
      if (this.wanted !== "now") this.wanted = how;
      return;
    }
    this.wanted = "";
    this.timer = setTimeout(() => this.run(), wait);
  }

  async run() {
    this.timer = 0;
    this.running = true;
    const began = Date.now();
    try {
      await this.work();
    } catch {
      // The connection's own state says what is wrong; the next event asks again.
    }
    this.running = false;
    this.next = Date.now() + Math.max(LEAST_PAUSE_MS, SHARE * (Date.now() - began));
    if (this.wanted === "now") this.hurry();
    else if (this.wanted) this.ask();
  }
}
