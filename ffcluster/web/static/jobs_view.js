/** The list of jobs, a page at a time; what is on the page is kept right by deltas. */

import { lacking, may } from "./access.js";
import { jobButtons } from "./actions.js";
import { h } from "./dom.js";
import { bytes, clock, count, duration, eta, fps, outputName, speed } from "./format.js";
import { complain } from "./notices.js";
import { connected, empty, figure, percentage, progress } from "./parts.js";
import { Polite } from "./polite.js";
import { icon, JOB_STATE_NAMES, jobBadge, jobWords } from "./words.js";

const PAGE = 25;
export const SORTS = [
  ["-submitted_at", "Newest first"],
  ["submitted_at", "Oldest first"],
  ["-priority", "Highest priority"],
  ["name", "Name"],
];

export class JobsView {
  /** @param {import("./main.js").App} app */
  constructor(app) {
    this.app = app;
    this.title = "Jobs";
    // Whoever comes back from a job finds the list as it was left.
    const { state, sort, pages } = app.listed;
    this.state = state;
    this.sort = sort;
    /** @type {string[]} */
    this.ids = [];
    /** @type {(string | null)[]} cursors of the pages up to this one */
    this.pages = pages;
    /** @type {string | null} */
    this.next = null;
    this.loaded = false;
    this.fetching = new Polite(() => this.refresh());
  }

  close() {
    const { state, sort, pages } = this;
    this.app.listed = { state, sort, pages };
    this.fetching.close();
  }

  async refresh() {
    const values = {
      limit: PAGE,
      cursor: this.pages[this.pages.length - 1],
      state: this.state,
      sort: this.sort,
    };
    try {
      const page = await this.app.store.fetchJobs(values);
      this.ids = page.items.map((job) => job.id);
      this.next = page.next_cursor;
      this.loaded = true;
    } catch (error) {
      complain(error);
    }
    this.app.draw();
  }

  /** A job that is new, changed its state or left: the list is another one. @param {string} kind */
  take(kind) {
    if (["job.state", "job.prioritised", "job.removed"].includes(kind)) this.fetching.ask();
  }

  /** @param {(string | null)[]} pages */
  turn(pages) {
    this.pages = pages;
    this.refresh();
    scrollTo(0, 0);
  }

  render() {
    const { store } = this.app;
    const jobs = this.ids.map((id) => store.jobs.get(id)).filter(Boolean);
    return [
      h(
        "div",
        { class: "page-head" },
        h("h1", null, "Jobs"),
        h(
          "div",
          { class: "row" },
          this.filters(),
          may("client")
            ? h("a", { class: "button primary", href: "#/submit" }, icon("plus"), "New job")
            : null,
        ),
      ),
      lacking("client", "Submitting and steering jobs"),
      this.starting(),
      jobs.length
        ? h(
            "ul",
            { class: "jobs", key: "jobs", "aria-label": "Jobs" },
            jobs.map((job) => this.row(job)),
          )
        : this.nothing(),
      this.pager(),
    ];
  }

  /** What to do where no worker is connected; a new token's secret stays until it is in its place. */
  starting() {
    const { status } = this.app.store;
    const none = status && connected(status) === 0;
    if (!none && !this.app.startWorker.made) return null;
    return h(
      "div",
      { class: none ? "callout wait" : "callout quiet", key: "none" },
      icon(none ? "warning" : "key"),
      h(
        "div",
        null,
        h("p", null, h("strong", null, none ? "No worker is connected." : "A new worker's token")),
        this.app.startWorker.render(),
      ),
    );
  }

  filters() {
    const choose = (/** @type {any} */ event, /** @type {"state" | "sort"} */ what) => {
      this[what] = event.target.value;
      this.turn([null]);
    };
    return [
      h(
        "label",
        { class: "inline" },
        h("span", { class: "sr" }, "Show jobs that are"),
        h(
          "select",
          { value: this.state, onchange: (/** @type {any} */ e) => choose(e, "state") },
          h("option", { value: "" }, "All states"),
          JOB_STATE_NAMES.map((name) => h("option", { value: name }, jobWords(name))),
        ),
      ),
      h(
        "label",
        { class: "inline" },
        h("span", { class: "sr" }, "Order"),
        h(
          "select",
          { value: this.sort, onchange: (/** @type {any} */ e) => choose(e, "sort") },
          SORTS.map(([value, words]) => h("option", { value }, words)),
        ),
      ),
    ];
  }

  nothing() {
    if (!this.loaded) return h("p", { class: "muted", key: "loading" }, "Asking the coordinator…");
    if (this.state || this.pages.length > 1)
      return h(
        "div",
        { key: "filtered" },
        empty(
          this.state ? `No job is in the state “${jobWords(this.state)}”` : "No more jobs",
          h(
            "button",
            {
              type: "button",
              onclick: () => {
                this.state = "";
                this.turn([null]);
              },
            },
            "Show all jobs",
          ),
        ),
      );
    return h(
      "div",
      { key: "empty" },
      empty(
        "No jobs yet",
        may("client")
          ? [
              h(
                "p",
                null,
                "Drop a film here, or choose one: it is cut, encoded by every worker at once, and joined again.",
              ),
              h(
                "a",
                { class: "button primary", href: "#/submit" },
                icon("upload"),
                "Submit the first job",
              ),
            ]
          : h("p", null, "They appear here as soon as somebody submits one."),
      ),
    );
  }

  pager() {
    if (this.pages.length === 1 && !this.next) return null;
    return h(
      "nav",
      { class: "pager", key: "pager", "aria-label": "Pages of jobs" },
      h(
        "button",
        {
          type: "button",
          disabled: this.pages.length === 1,
          onclick: () => this.turn(this.pages.slice(0, -1)),
        },
        icon("left"),
        "Before",
      ),
      h("span", null, `Page ${this.pages.length}`),
      h(
        "button",
        {
          type: "button",
          disabled: !this.next,
          onclick: () => this.turn([...this.pages, this.next]),
        },
        "After",
        icon("right"),
      ),
    );
  }

  /** @param {any} job */
  row(job) {
    const reason = job.error?.message ?? job.reason;
    return h(
      "li",
      { class: "job", key: job.id },
      h(
        "div",
        { class: "job-name" },
        h(
          "h2",
          { title: job.source_name },
          h("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, h("bdi", null, job.source_name)),
        ),
        h(
          "p",
          { class: "muted", title: outputName(job) },
          h("bdi", null, outputName(job)),
          job.encoder ? ` · ${job.encoder}` : "",
        ),
      ),
      h(
        "div",
        { class: "job-state" },
        jobBadge(job),
        h("span", { class: "percent" }, job.frame_count ? `${percentage(job)} %` : ""),
      ),
      h("div", { class: "job-actions row" }, jobButtons(this.app.store, job)),
      h(
        "div",
        { class: "job-progress" },
        progress(job),
        reason
          ? h(
              "p",
              { class: job.error ? "bad-text wrap" : "why wrap" },
              icon(job.error ? "failed" : "clock"),
              reason,
            )
          : null,
      ),
      h("dl", { class: "figures" }, job.ended ? ended(job) : running(job)),
    );
  }
}

/** @param {any} job */
export function running(job) {
  return [
    figure(
      "Frames",
      job.frame_count ? `${count(job.frames_done)} / ${count(job.frame_count)}` : "–",
    ),
    figure("Rate", `${fps(job.fps)} fps`),
    figure("Speed", speed(job.speed), "Multiple of real time"),
    figure("Left", eta(job), "Expected, and the range that is likely"),
    figure(
      "Size",
      job.predicted_size_bytes ? `≈ ${bytes(job.predicted_size_bytes)}` : "–",
      "Predicted size of the output",
    ),
  ];
}

/** @param {any} job */
export function ended(job) {
  return [
    figure(
      "Frames",
      job.outcome
        ? count(job.outcome.frame_count)
        : job.frame_count
          ? `${count(job.frames_committed)} / ${count(job.frame_count)}`
          : "–",
    ),
    figure("Took", duration(job.elapsed_s)),
    figure(
      "Mean speed",
      job.duration_s && job.state === "Completed" ? speed(job.duration_s / job.elapsed_s) : "–",
    ),
    figure("Ended", clock(job.ended_at)),
    figure("Size", bytes(job.outcome?.size_bytes)),
  ];
}
