/**
 * The coordinator's live events, read by fetch: EventSource cannot send the token.
 *
 * Comes back by itself after any interruption, saying which durable event it saw last.
 */

import { headers, Problem, problemOf, query } from "./api.js";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
// The coordinator sends something every 15 s; a connection that is silent for longer is dead.
const SILENCE_MS = 40_000;

/**
 * @typedef {{state: "connecting" | "live" | "reconnecting", since: Date, problem: string}} Connection
 */

export class Live {
  /**
   * @param {(kind: string, data: any) => void} take gets every event
   * @param {(connection: Connection) => void} show gets every change of the connection
   */
  constructor(take, show) {
    this.take = take;
    this.show = show;
    /** @type {{job_id?: string, about?: string}} */
    this.wanted = {};
    this.last = "";
    this.delay = FIRST_DELAY_MS;
    /** @type {Connection} */
    this.connection = { state: "connecting", since: new Date(), problem: "" };
    /** @type {AbortController | null} */
    this.control = null;
    this.timer = 0;
    this.silence = 0;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => this.hurry());
  }

  /**
   * Listen from now on, to one job alone or to changes of jobs or of workers.
   * @param {{job_id?: string, about?: "jobs" | "workers"}} wanted
   */
  open(wanted) {
    this.wanted = wanted;
    this.last = "";
    this.close();
    this.run();
  }

  close() {
    this.control?.abort();
    this.control = null;
    clearTimeout(this.timer);
    clearTimeout(this.silence);
  }

  /** Do not wait for the next try. */
  hurry() {
    if (this.connection.state !== "reconnecting" || document.hidden || !this.control) return;
    this.close();
    this.run();
  }

  async run() {
    const control = (this.control = new AbortController());
    let problem = "";
    try {
      await this.read(control);
    } catch (error) {
      if (control !== this.control) return;
      if (error instanceof Problem && error.status === 401) return this.close();
      if (error instanceof Problem && error.code === "events_gone") {
        this.last = "";
        this.delay = 0;
      } else if (error instanceof Problem) problem = error.message;
    }
    if (control !== this.control) return;
    clearTimeout(this.silence);
    control.abort();
    this.change("reconnecting", problem);
    this.timer = setTimeout(() => this.run(), this.delay * (0.5 + Math.random() / 2));
    this.delay = Math.min(LONGEST_DELAY_MS, Math.max(FIRST_DELAY_MS, this.delay * 2));
  }

  /** @param {AbortController} control */
  async read(control) {
    this.listen(control);
    /** @type {Record<string, string>} */
    const resume = this.last ? { "Last-Event-ID": this.last } : {};
    const response = await fetch(`/api/v1/events${query(this.wanted)}`, {
      headers: headers({ Accept: "text/event-stream", ...resume }),
      cache: "no-store",
      signal: control.signal,
    });
    if (!response.ok || !response.body) throw await problemOf(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.listen(control);
      const blocks = (text + value).split(/\r?\n\r?\n/);
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        if (control !== this.control) return;
        this.accept(block);
      }
    }
  }

  /** @param {AbortController} control */
  listen(control) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => control.abort(), SILENCE_MS);
  }

  /** @param {string} block one event */
  accept(block) {
    let kind = "message";
    let id = "";
    const data = [];
    for (const line of block.split(/\r?\n/)) {
      const at = line.indexOf(":");
      if (at <= 0) continue;
      const value = line.slice(at + 1).replace(/^ /, "");
      const field = line.slice(0, at);
      if (field === "event") kind = value;
      else if (field === "id") id = value;
      else if (field === "data") data.push(value);
    }
    if (id) this.last = id;
    if (!data.length) return;
    const content = JSON.parse(data.join("\n"));
    if (kind === "hello") {
      this.delay = FIRST_DELAY_MS;
      // Without it a page that never saw a durable event could miss those of an interruption.
      if (!this.last && content.last_event !== undefined) this.last = String(content.last_event);
      this.change("live", "");
    }
    this.take(kind, content);
  }

  /** @param {Connection["state"]} state @param {string} problem */
  change(state, problem) {
    const since = this.connection.state === state ? this.connection.since : new Date();
    this.connection = { state, since, problem };
    this.show(this.connection);
  }
}
