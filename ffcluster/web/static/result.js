/**
 * The published file: what is proven of it, to download, to play, and to compare with the source.
 */

import { get, there, ticket } from "./api.js";
import { Comparison } from "./comparison.js";
import { h } from "./dom.js";
import { bytes, clock, count } from "./format.js";
import { attempt } from "./notices.js";
import { card, facts, follow } from "./parts.js";
import { icon, sourceGone } from "./words.js";

export class Result {
  /** @param {string} jobId @param {() => void} changed */
  constructor(jobId, changed) {
    this.path = `/jobs/${encodeURIComponent(jobId)}`;
    this.changed = changed;
    /** @type {Comparison | null} */
    this.comparison = null;
    /** @type {HTMLVideoElement | null} */
    this.video = null;
  }

  close() {
    this.comparison?.close();
    this.video?.pause();
  }

  /** @param {any} job that ended */
  card(job) {
    const outcome = job.outcome;
    if (!outcome)
      return card(
        "Result",
        this.papers(job),
        h(
          "p",
          { class: "muted" },
          "There is no file. The report and the receipt say what was made of it.",
        ),
      );
    return card(
      "Result",
      this.tools(job),
      facts([
        ["File", outcome.path],
        ["Size", bytes(outcome.size_bytes)],
        ["Frames", `${count(outcome.frame_count)}${outcome.proven ? ", every one proven" : ""}`],
        ["Pictures", outcome.pictures_equal ? "every one equal to the source's" : null],
        ["SHA-256", outcome.sha256 ? h("code", { class: "wrap" }, outcome.sha256) : null],
        ["Not carried over", (outcome.lost ?? []).join("; ")],
        ["Notes", (outcome.notes ?? []).join("; ")],
      ]),
      h(
        "div",
        { class: "row" },
        sourceGone(job)
          ? null
          : h(
              "button",
              {
                type: "button",
                key: "compare",
                "aria-expanded": String(Boolean(this.comparison)),
                onclick: () => this.compare(job),
              },
              "Compare with the source",
            ),
        h(
          "button",
          {
            type: "button",
            key: "play",
            "aria-expanded": String(Boolean(this.video)),
            onclick: () => this.play(),
          },
          icon("play"),
          "Play",
        ),
      ),
      aboutSource(job),
      this.comparison ? h("div", { key: "comparison", keep: this.comparison.element }) : null,
      this.video ? h("div", { key: "video", keep: this.video }) : null,
    );
  }

  /** @param {any} job */
  tools(job) {
    return [
      h(
        "button",
        {
          type: "button",
          class: "primary",
          key: "download",
          onclick: () => this.save("result", job.output_name),
        },
        icon("download"),
        "Download",
      ),
      ...this.papers(job),
    ];
  }

  /** @param {any} job */
  papers(job) {
    return [
      h(
        "button",
        {
          type: "button",
          key: "report",
          onclick: () => this.save("report", `${job.output_name}.html`),
        },
        "Report",
      ),
      h("button", { type: "button", key: "receipt", onclick: () => this.receipt(job) }, "Receipt"),
    ];
  }

  /** @param {string} what @param {string} name */
  save(what, name) {
    return attempt(async () => {
      if (what === "result") await there(`${this.path}/result`);
      follow(await ticket(`${this.path}/${what}`), name);
    });
  }

  /** @param {any} job */
  receipt(job) {
    return attempt(async () => {
      const text = JSON.stringify(await get(`${this.path}/receipt`), null, 2);
      const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      follow(url, `${job.output_name}.receipt.json`);
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    });
  }

  /** @param {any} job */
  compare(job) {
    if (this.comparison) this.comparison.close();
    this.comparison = this.comparison ? null : new Comparison(this.path, job.duration_s ?? 0);
    this.changed();
  }

  async play() {
    if (this.video) {
      this.video.pause();
      this.video = null;
    } else {
      await attempt(async () => {
        await there(`${this.path}/result`);
        const url = await ticket(`${this.path}/result`);
        const refuse = () =>
          this.video?.replaceWith(
            h(
              "p",
              { class: "muted" },
              "This browser cannot play the file. Download it, or compare its pictures.",
            ),
          );
        this.video = h("video", {
          class: "player",
          src: url,
          controls: true,
          preload: "metadata",
          "aria-label": "The result",
          onerror: refuse,
        });
      });
    }
    this.changed();
  }
}

/** For how long there is something to compare with. @param {any} job */
function aboutSource(job) {
  if (!job.source_uploaded) return null;
  const words = job.source_kept_until
    ? `The uploaded source is kept until ${clock(job.source_kept_until)}, or until its room is needed; it can be compared for as long.`
    : "There is nothing to compare with: the uploaded source is not kept any more. The coordinator's --keep-uploads says for how long sources stay.";
  return h("p", { class: "muted", key: "source" }, words);
}
