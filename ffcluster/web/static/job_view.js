/** One job: how far it is, the film, who encodes what, what came of it. */

import { jobButtons } from "./actions.js";
import { h, lazy } from "./dom.js";
import { EventLog } from "./event_log.js";
import { Filmstrip } from "./filmstrip.js";
import { count, fps, outputName, plural } from "./format.js";
import { describe, Gantt } from "./gantt.js";
import { ended, running } from "./jobs_view.js";
import { problemBox, say } from "./notices.js";
import { swatch } from "./paint.js";
import { card, connected, facts, percentage, progress, table } from "./parts.js";
import { Polite } from "./polite.js";
import { profileFacts } from "./profiles.js";
import { Result } from "./result.js";
import { SegmentPanel } from "./segment_panel.js";
import { segmentTable } from "./segment_table.js";
import { END_WORDS, icon, jobBadge, jobWords, SEGMENT_STATES, SEGMENT_WORDS } from "./words.js";

const TABLE_BARS = 200;

export class JobView {
  /** @param {import("./main.js").App} app @param {string} id */
  constructor(app, id) {
    this.app = app;
    this.id = id;
    this.jobId = id;
    this.title = "Job";
    /** @type {any} */
    this.problem = null;
    this.panel = new SegmentPanel(app, id, () => this.strip.select(this.panel.first));
    this.strip = new Filmstrip(id, (first) => this.panel.open(first));
    this.gantt = new Gantt(
      id,
      (bar) => this.panel.open(bar.first_frame, bar.epoch),
      () => app.draw(),
    );
    this.segments = segmentTable(id, (first) => this.panel.open(first));
    this.log = new EventLog(id, () => app.draw());
    this.result = new Result(id, () => app.draw());
    this.legend = h(
      "ul",
      { class: "legend", "aria-label": "Legend" },
      SEGMENT_STATES.map((state) => h("li", null, swatch(state), SEGMENT_WORDS[state])),
    );
    this.ganttLegend = h(
      "ul",
      { class: "legend", "aria-label": "Legend" },
      Object.entries(END_WORDS).map(([end, words]) => h("li", null, swatch(end), words)),
      h("li", null, h("span", { class: "swatch dashed" }), "second attempt"),
      h("li", null, h("span", { class: "swatch under" }), "stands in for hardware"),
    );
    this.listed = false;
    this.tabled = false;
    this.listing = new Polite(() => this.segments.refresh());
  }

  close() {
    for (const part of [this.strip, this.gantt, this.segments, this.listing, this.log, this.result])
      part.close();
  }

  async refresh() {
    try {
      const job = await this.app.store.fetchJob(this.id);
      this.title = job.source_name;
      this.problem = null;
      this.strip.fetch();
      this.gantt.fetch();
      this.log.refresh();
      if (this.listed) this.segments.refresh();
      this.panel.refresh();
    } catch (error) {
      this.problem = error;
    }
    this.app.draw();
  }

  /** @param {string} kind @param {any} data */
  take(kind, data) {
    if (kind === "segments" && data.job_id === this.id) this.takeSegments(data.segments);
    if (kind === "job" && data.id === this.id) this.advance();
    if (data.number !== undefined && data.job_id === this.id) {
      this.log.take(data);
      if (kind === "job.state") {
        say(`${this.title}: ${jobWords(data.data?.state ?? "")}`);
        this.refresh();
      }
    }
  }

  /** Let what runs grow in the chart. */
  advance() {
    const { store } = this.app;
    const job = store.jobs.get(this.id);
    if (job && !job.ended) this.gantt.advance((store.now() - Date.parse(job.submitted_at)) / 1000);
  }

  /** @param {any[][]} rows */
  takeSegments(rows) {
    this.strip.apply(rows);
    this.gantt.fetch();
    if (rows.some((row) => row[0] === this.panel.first)) this.panel.refresh();
    const known = new Map(this.segments.items.map((segment) => [segment.first_frame, segment]));
    let all = true;
    for (const [first, frames, state, worker, attempts, size] of rows) {
      const segment = known.get(first);
      if (segment && segment.frame_count === frames)
        Object.assign(segment, {
          state,
          worker: worker ?? "",
          attempts: Array.isArray(segment.attempts) ? segment.attempts : attempts,
          size_bytes: size,
        });
      else all = false;
    }
    if (this.listed) all ? this.segments.draw() : this.listing.ask();
  }

  render() {
    const { store } = this.app;
    const job = store.jobs.get(this.id);
    if (!job)
      return [
        h("h1", null, "Job"),
        this.problem
          ? problemBox(this.problem)
          : h("p", { class: "muted" }, "Asking the coordinator…"),
      ];
    const away = () => (location.hash = "#/jobs");
    const first = job.ended ? this.result.card(job) : null;
    return [
      h("p", { class: "crumbs", key: "crumbs" }, h("a", { href: "#/jobs" }, "Jobs")),
      h(
        "div",
        { class: "page-head", key: "head" },
        h("h1", null, h("bdi", null, job.source_name), " ", jobBadge(job)),
        h("div", { class: "row" }, jobButtons(store, job, { words: true, removed: away })),
      ),
      this.summary(job),
      first,
      lazy("Film", [this], () => this.film()),
      this.panel.card(),
      lazy("Workers over time", [this, this.gantt.lanes, this.tabled], () => this.work()),
      (job.shares ?? []).length
        ? lazy("Who did what", [this, job.shares, job.share_count], () => whoDidWhat(job))
        : null,
      h(
        "details",
        {
          class: "card",
          key: "segments",
          ontoggle: (/** @type {any} */ event) => this.list(event.target.open),
        },
        h("summary", null, "All segments"),
        h("div", { keep: this.segments.element }),
      ),
      lazy("What happened", [this, this.log.version, new Date().toDateString()], () =>
        card("What happened", null, this.log.render()),
      ),
      lazy("Settings", [this, job.profile, job.encoder, job.container, outputName(job)], () =>
        card("Settings", null, settings(job)),
      ),
    ];
  }

  film() {
    return card(
      "Film",
      this.filmTools(),
      h("div", { keep: this.strip.element }),
      h("div", { keep: this.legend }),
      h(
        "p",
        { class: "muted small" },
        "The lowest row is the size of each frame. Red on top: tried again; amber below: a second worker tries too. Ctrl and the wheel zooms, dragging moves, the arrow keys and Enter choose a segment.",
      ),
    );
  }

  work() {
    const any = this.gantt.lanes.length > 0;
    return card(
      "Workers over time",
      this.ganttTools(),
      any ? null : h("p", { class: "muted" }, "No worker was given anything in this time."),
      h("div", { key: "lanes", hidden: !any }, h("div", { keep: this.gantt.element })),
      h("div", { key: "legend", hidden: !any, keep: this.ganttLegend }),
      this.gantt.leftOut
        ? h(
            "p",
            { class: "muted" },
            `${count(this.gantt.leftOut)} more workers took part; look closer to see them.`,
          )
        : null,
      any ? this.ganttTable() : null,
    );
  }

  /** @param {boolean} open */
  list(open) {
    this.listed = open;
    if (open) this.segments.refresh();
  }

  /** @param {any} job */
  summary(job) {
    const waits = job.state === "WaitingForClients" && connected(this.app.store.status) === 0;
    return h(
      "section",
      { class: "card", key: "summary", "aria-label": "Progress" },
      h(
        "div",
        { class: "big-progress" },
        progress(job),
        h("strong", null, job.frame_count ? `${percentage(job)} %` : ""),
      ),
      h(
        "dl",
        { class: "figures wide" },
        job.ended ? ended(job) : running(job),
        h(
          "div",
          { class: "figure" },
          h("dt", null, "Segments"),
          h("dd", null, `${count(job.segments_committed)} / ${count(job.segment_count)}`),
        ),
        h("div", { class: "figure" }, h("dt", null, "Retries"), h("dd", null, count(job.retries))),
      ),
      job.reason
        ? h("p", { class: "callout wait" }, icon("clock"), h("span", null, job.reason))
        : null,
      waits ? h("div", { class: "stack" }, this.app.startWorker.render()) : null,
      job.error ? problemBox(job.error) : null,
      job.error || job.state === "WaitingForClients" ? this.lastFailure() : null,
      (job.warnings ?? []).map((/** @type {string} */ warning) =>
        h("p", { class: "callout wait" }, icon("warning"), h("span", null, warning)),
      ),
    );
  }

  /** Why a job failed, or rests, stands in the log of what failed last. */
  lastFailure() {
    const failed = this.gantt.lanes
      .flatMap((lane) => lane.bars)
      .filter((bar) => bar.end === "failed")
      .sort((a, b) => b.epoch - a.epoch)[0];
    if (!failed) return null;
    return h(
      "div",
      { class: "row", key: "failure" },
      h(
        "button",
        { type: "button", onclick: () => this.panel.open(failed.first_frame, failed.epoch) },
        icon("look"),
        "Show the attempt that failed last",
      ),
    );
  }

  filmTools() {
    return [
      tool("minus", "Show more of the film", () => this.strip.zoom(2)),
      tool("plus", "Look closer at the film", () => this.strip.zoom(0.5)),
      tool("fit", "Show the whole film", () => this.strip.showAll()),
    ];
  }

  ganttTools() {
    return [
      tool("left", "Earlier", () => this.gantt.shift(-0.5)),
      tool("right", "Later", () => this.gantt.shift(0.5)),
      tool("minus", "Show more time", () => this.gantt.zoom(2)),
      tool("plus", "Look closer at the time", () => this.gantt.zoom(0.5)),
      tool("fit", "Show the whole time", () => this.gantt.showAll()),
    ];
  }

  /** The same as a table, of the latest attempts in view; made while somebody looks at it. */
  ganttTable() {
    const many = this.gantt.lanes.reduce((sum, lane) => sum + lane.bars.length, 0);
    return h(
      "details",
      {
        key: "attempts",
        ontoggle: (/** @type {any} */ event) => {
          this.tabled = event.target.open;
          this.app.draw();
        },
      },
      h("summary", null, `The attempts in view as a table (${count(many)})`),
      this.tabled ? this.attempts() : null,
    );
  }

  attempts() {
    const bars = this.gantt.lanes
      .flatMap((lane) => lane.bars.map((bar) => ({ lane, bar })))
      .sort((a, b) => b.bar.start_s - a.bar.start_s);
    return table(
      "Attempts in view, the latest first",
      ["Worker", "Attempt", "Details"],
      bars
        .slice(0, TABLE_BARS)
        .map(({ lane, bar }) => [
          lane.worker,
          describe(bar),
          h(
            "button",
            { type: "button", onclick: () => this.panel.open(bar.first_frame, bar.epoch) },
            `Attempt ${bar.epoch}`,
          ),
        ]),
    );
  }
}

/** @param {string} symbol @param {string} label @param {() => void} onclick */
const tool = (symbol, label, onclick) =>
  h(
    "button",
    { type: "button", class: "square", "aria-label": label, title: label, onclick },
    icon(symbol),
  );

/** @param {any} job */
const whoDidWhat = (job) =>
  card(
    "Who did what",
    null,
    shares(job.shares),
    job.share_count > job.shares.length
      ? h(
          "p",
          { class: "muted" },
          `And ${plural(job.share_count - job.shares.length, "more worker")}.`,
        )
      : null,
  );

/** @param {any[]} all */
const shares = (all) =>
  table(
    "What each worker did",
    ["Worker", "Encoder", "Device", "Segments", "Frames", "Now", "Failures"],
    all.map((share) => [
      share.worker_id
        ? h("a", { href: `#/workers/${encodeURIComponent(share.worker_id)}` }, share.worker)
        : share.worker,
      share.encoder ? h("code", null, share.encoder) : "–",
      (share.devices ?? []).map((/** @type {string} */ device) => device || "CPU").join(", ") ||
        "–",
      count(share.segments),
      count(share.frames),
      share.running ? `${fps(share.fps)} fps` : "–",
      count(share.failures),
    ]),
  );

/** @param {any} job */
const settings = (job) =>
  facts([
    ["Job", h("code", null, job.id)],
    ["Source", job.source_name],
    ["Output", outputName(job)],
    ["Container", job.container],
    ["Encoder", job.encoder],
    ...profileFacts(job.profile ?? {}),
  ]);
