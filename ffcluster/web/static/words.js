/** The words and symbols for states, so that no state is told by its colour alone. */

import { h } from "./dom.js";

// 24 by 24, drawn with strokes.
/** @type {Record<string, string>} */
const ICONS = {
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l3 3",
  trial: "M9 3h6M10 3v6l-5 9a2 2 0 0 0 2 3h10a2 2 0 0 0 2-3l-5-9V3",
  play: "M7 4v16l13-8z",
  join: "M8 8H4v12h12v-4M8 4h12v12H8z",
  done: "M4 12l5 6L20 6",
  failed: "M6 6l12 12M18 6L6 18",
  cancelled: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M6 6l12 12",
  pause: "M8 5v14M16 5v14",
  retry: "M4 12a8 8 0 1 0 3-6M4 4v5h5",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  read: "M4 5h16v14H4zM8 5v14M16 5v14M4 12h16",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  drain: "M5 4h14l-5 8v7l-4 2v-9z",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  warning: "M12 4L2 20h20zM12 10v4M12 17v.5",
  idle: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8",
  lost: "M4 4l16 16M9 9a4 4 0 0 0 6 6",
  close: "M6 6l12 12M18 6L6 18",
  key: "M14 4a5 5 0 1 0 0 10 5 5 0 0 0 0-10M10.500 12.500L4 19v2h4v-3h3",
  look: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7-10-7-10-7M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
};

/** A symbol beside words; screen readers leave it out. @param {string} name */
export function icon(name) {
  return h(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    h("path", { d: ICONS[name] }),
  );
}

/** @type {Record<string, [string, string, string]>} words, symbol, tone */
const JOB_STATES = {
  Queued: ["Reading the film", "read", "busy"],
  WaitingForClients: ["Waiting", "clock", "wait"],
  Benchmarking: ["Trying encoders", "trial", "busy"],
  Processing: ["Encoding", "play", "busy"],
  Combining: ["Joining", "join", "busy"],
  Completed: ["Done", "done", "good"],
  Failed: ["Failed", "failed", "bad"],
  Cancelled: ["Cancelled", "cancelled", "quiet"],
};

/** @type {Record<string, [string, string, string]>} */
const WORKER_STATES = {
  Connected: ["Connected", "idle", "good"],
  Idle: ["Idle", "idle", "good"],
  Processing: ["Encoding", "play", "busy"],
  Benchmarking: ["Trying encoders", "trial", "busy"],
  Absent: ["Not heard", "clock", "wait"],
  Disconnected: ["Gone", "lost", "quiet"],
};

export const JOB_STATE_NAMES = Object.keys(JOB_STATES);

/** @param {string} state */
export const jobWords = (state) => (JOB_STATES[state] ?? [state])[0];

/** Whether its film was sent by a client and is not here any more. @param {any} job that ended */
export const sourceGone = (job) => job.source_uploaded && !job.source_kept_until;

export const WORKER_STATE_NAMES = Object.keys(WORKER_STATES);

/** @param {string} state */
export const workerWords = (state) => (WORKER_STATES[state] ?? [state])[0];

/** @param {any} job */
export function jobBadge(job) {
  if (job.paused && !job.ended) return badge("Paused", "pause", "wait");
  return badge(...(JOB_STATES[job.state] ?? [job.state, "clock", "quiet"]));
}

/** @param {any} worker */
export function workerBadge(worker) {
  if (worker.draining || worker.drained_by_operator) return badge("Draining", "drain", "wait");
  return badge(...(WORKER_STATES[worker.state] ?? [worker.state, "idle", "quiet"]));
}

/** @param {string} words @param {string} symbol @param {string} tone */
export const badge = (words, symbol, tone) =>
  h("span", { class: `badge ${tone}` }, icon(symbol), words);

/** Segment states, in the order in which a segment goes through them. */
export const SEGMENT_STATES = ["pending", "assigned", "checking", "committed", "missing"];

/** @type {Record<string, string>} */
export const SEGMENT_WORDS = {
  pending: "waiting",
  assigned: "being encoded",
  checking: "being checked",
  committed: "done",
  missing: "left out",
};

/** @type {Record<string, string>} how an attempt ended */
export const END_WORDS = {
  live: "running",
  committed: "done",
  failed: "failed",
  returned: "given back",
  superseded: "overtaken",
  mixed: "of several outcomes",
};
