/** One segment: its attempts, and of the chosen attempt the command, the timings and the log. */

import { get } from "./api.js";
import { h } from "./dom.js";
import { bytes, clock, count, duration, fps } from "./format.js";
import { problemBox } from "./notices.js";
import { command, facts } from "./parts.js";
import { END_WORDS, icon, SEGMENT_WORDS } from "./words.js";

export class SegmentPanel {
  /**
   * @param {import("./main.js").App} app
   * @param {string} jobId
   * @param {() => void} changed called when another segment is shown
   */
  constructor(app, jobId, changed) {
    this.app = app;
    this.path = `/jobs/${encodeURIComponent(jobId)}`;
    this.changed = changed;
    this.first = -1;
    this.epoch = 0;
    /** @type {any} */
    this.segment = null;
    /** @type {any} */
    this.shown = null;
    /** @type {any} */
    this.problem = null;
  }

  /** @param {number} first @param {number} [epoch] of the attempt to show; 0: the latest */
  async open(first, epoch = 0) {
    [this.first, this.epoch, this.segment, this.shown, this.problem] = [
      first,
      epoch,
      null,
      null,
      null,
    ];
    this.changed();
    this.app.draw();
    await this.refresh();
    const panel = document.getElementById("segment");
    panel?.focus({ preventScroll: true });
    panel?.scrollIntoView({
      block: "nearest",
      behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
    });
  }

  close() {
    this.first = -1;
    this.changed();
    this.app.draw();
  }

  async refresh() {
    const { first } = this;
    if (first < 0) return;
    try {
      const segment = await get(`${this.path}/segments/${first}`);
      const attempts = segment.attempts ?? [];
      const epoch = this.epoch || attempts.at(-1)?.epoch || 0;
      const shown = epoch
        ? await get(`${this.path}/attempts/${epoch}`).catch((error) => ({ problem: error }))
        : null;
      if (first !== this.first) return;
      [this.segment, this.shown, this.problem] = [segment, shown, null];
    } catch (error) {
      if (first !== this.first) return;
      this.problem = error;
    }
    this.app.draw();
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }

  /** @param {number} epoch */
  choose(epoch) {
    this.epoch = epoch;
    this.refresh();
  }

  card() {
    if (this.first < 0) return null;
    const segment = this.segment;
    const close = h(
      "button",
      {
        type: "button",
        class: "square",
        "aria-label": "Close the segment",
        onclick: () => this.close(),
      },
      icon("close"),
    );
    const title = segment
      ? `Frames ${count(segment.first_frame)} to ${count(segment.first_frame + segment.frame_count - 1)}`
      : "Segment";
    return h(
      "section",
      {
        class: "card",
        id: "segment",
        key: "segment",
        tabindex: "-1",
        "aria-label": `Segment: ${title}`,
      },
      h("header", { class: "card-head" }, h("h2", null, title), h("div", { class: "row" }, close)),
      this.problem
        ? problemBox(this.problem)
        : segment
          ? this.content(segment)
          : h("p", { class: "muted" }, "Asking the coordinator…"),
    );
  }

  /** @param {any} segment */
  content(segment) {
    // What the attempt below says again.
    /** @type {[string, any][]} */
    const alone =
      this.shown && !this.shown.problem
        ? []
        : [
            ["Worker", segment.worker],
            ["Encoder", segment.encoder],
            ["Device", segment.device],
            ["Encoded in", segment.encode_s ? duration(segment.encode_s) : null],
          ];
    return [
      facts([
        ["State", SEGMENT_WORDS[segment.state] ?? segment.state],
        ...alone,
        ["Size", segment.size_bytes ? bytes(segment.size_bytes) : null],
        [
          "Likeness at its borders",
          segment.border_psnr_db ? `${segment.border_psnr_db.toFixed(1)} dB` : null,
        ],
      ]),
      h(
        "div",
        { class: "attempts", role: "group", "aria-label": "Attempts" },
        (segment.attempts ?? []).map((/** @type {any} */ attempt) => this.tab(attempt)),
      ),
      this.shown?.problem
        ? problemBox(this.shown.problem)
        : this.shown
          ? attemptFacts(this.shown)
          : h("p", { class: "muted" }, "Nobody has tried it yet."),
    ];
  }

  /** @param {any} attempt */
  tab(attempt) {
    const chosen = attempt.epoch === this.shown?.epoch;
    return h(
      "button",
      {
        type: "button",
        class: `tab ${attempt.end}`,
        "aria-pressed": String(chosen),
        onclick: () => this.choose(attempt.epoch),
      },
      `Attempt ${attempt.epoch} · ${attempt.worker} · ${END_WORDS[attempt.end] ?? attempt.end}${attempt.speculative ? " · second attempt" : ""}`,
    );
  }
}

/** @param {any} attempt */
function attemptFacts(attempt) {
  const argv = attempt.argv ? attempt.argv.map(quoted).join(" ") : "";
  const tail = attempt.log_tail ?? [];
  const times = attempt.timings ?? {};
  return h(
    "div",
    { key: attempt.epoch },
    attempt.error ? problemBox(attempt.error) : null,
    facts([
      ["Worker", attempt.worker],
      ["Encoder", attempt.encoder],
      ["Device", attempt.device_name || attempt.device || "CPU"],
      ["Outcome", END_WORDS[attempt.end] ?? attempt.end],
      ["Offered", times.offered_at && clock(times.offered_at)],
      [
        "Started",
        times.started_at && `${clock(times.started_at)}, after ${duration(times.waited_s)}`,
      ],
      [
        "Delivered",
        times.delivered_at && `${clock(times.delivered_at)}, after ${duration(times.ran_s)}`,
      ],
      ["Ended", times.ended_at && clock(times.ended_at)],
      ["Encoded in", times.encode_s ? duration(times.encode_s) : null],
      ["Rate", attempt.fps ? `${fps(attempt.fps)} fps` : null],
      ["Frames", attempt.frames_done ? count(attempt.frames_done) : null],
      ["Size", attempt.size_bytes ? bytes(attempt.size_bytes) : null],
      ["ffmpeg", attempt.ffmpeg],
      ["Notes", (attempt.notes ?? []).join(" ")],
    ]),
    argv ? [h("h3", null, "Command"), command(argv)] : null,
    tail.length
      ? [
          h("h3", null, "Last lines of its log"),
          h("pre", { tabindex: "0", role: "group", "aria-label": "Log" }, tail.join("\n")),
        ]
      : argv
        ? h("p", { class: "muted" }, "Its log is empty: the encoder had nothing to complain about.")
        : attempt.end === "live"
          ? h("p", { class: "muted" }, "The worker tells command and log when it is done.")
          : null,
  );
}

/** For a shell. @param {string} word */
const quoted = (word) =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
