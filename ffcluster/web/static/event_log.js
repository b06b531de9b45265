/** What happened to a job: the latest events first, told as sentences. */

import { get } from "./api.js";
import { h } from "./dom.js";
import { clock } from "./format.js";
import { jobWords } from "./words.js";

const KEPT = 200;
const MOST_PAGES = 20;
// Said elsewhere in the line or on the screen.
const TOLD = new Set(["worker", "name", "state", "source_name", "output_name", "code"]);

/**
 * @typedef {{number: number, at: string, kind: string, worker_id?: string | null, epoch?: number | null, data?: any}} Happening
 */

export class EventLog {
  /** @param {string} jobId @param {() => void} changed */
  constructor(jobId, changed) {
    this.jobId = jobId;
    this.changed = changed;
    /** @type {Map<number, Happening>} */
    this.events = new Map();
    // Another one whenever something is added.
    this.version = 0;
    this.generation = 0;
  }

  close() {
    this.generation += 1;
  }

  /** Fetch what is not here yet. */
  async refresh() {
    const generation = (this.generation += 1);
    let after = Math.max(0, ...this.events.keys()) || null;
    try {
      for (let page = 0; page < MOST_PAGES; page += 1) {
        const answer = await get("/events/log", { job_id: this.jobId, after, limit: 500 });
        if (generation !== this.generation) return;
        for (const event of answer.items) this.keep(event);
        after = answer.next_cursor;
        if (!after) break;
      }
    } catch {
      // What is told live from now on is shown all the same.
    }
    this.changed();
  }

  /** @param {any} event */
  take(event) {
    this.keep(event);
    this.changed();
  }

  /** @param {Happening} event */
  keep(event) {
    this.events.set(event.number, event);
    this.version += 1;
    if (this.events.size > KEPT) this.events.delete(Math.min(...this.events.keys()));
  }

  render() {
    const events = [...this.events.values()].sort((a, b) => b.number - a.number);
    if (!events.length) return h("p", { class: "muted" }, "Nothing yet.");
    return h(
      "ol",
      { class: "log", reversed: true, tabindex: "0", "aria-label": "Events, the latest first" },
      events.map((event) =>
        h(
          "li",
          { key: event.number },
          h("time", { datetime: event.at }, clock(event.at)),
          h("span", { class: "log-kind" }, words(event)),
          h("span", { class: "muted" }, details(event)),
        ),
      ),
    );
  }
}

/** "attempt.failed" as "Attempt failed", a new state as its words. @param {Happening} event */
function words(event) {
  if (event.kind === "job.state") return jobWords(event.data?.state ?? "");
  const text = event.kind.replace(/[._]/g, " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {Happening} event */
function details(event) {
  const data = event.data ?? {};
  const parts = [
    event.epoch ? `attempt ${event.epoch}` : "",
    data.worker ?? data.name ?? event.worker_id ?? "",
  ];
  for (const [name, value] of Object.entries(data)) {
    if (TOLD.has(name) || value === null || value === "" || value === false) continue;
    if (name === "reason") parts.push(value);
    else if (name === "until") parts.push(`until ${clock(new Date(value * 1000).toISOString())}`);
    else parts.push(`${name.replaceAll("_", " ")} ${value}`);
  }
  return parts.filter(Boolean).join(" · ").slice(0, 400);
}
