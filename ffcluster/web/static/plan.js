/** What would become of a film, as `POST /plan` says. */

import { h } from "./dom.js";
import { bytes, count, duration, plural, timecode } from "./format.js";
import { facts } from "./parts.js";
import { icon } from "./words.js";

const MOST_NAMES = 5;

/** @param {any} plan */
export function planFacts(plan) {
  const video = plan.video ?? {};
  const names = Array.isArray(plan.workers) ? plan.workers : [];
  const able = plan.worker_count ?? names.length;
  const told = names.slice(0, MOST_NAMES).join(", ");
  return h(
    "div",
    { key: "plan" },
    facts([
      [
        "Film",
        plan.frame_count
          ? `${count(plan.frame_count)} frames, ${timecode(plan.duration_s ?? 0)}`
          : "",
      ],
      [
        "Picture",
        video.width ? `${video.width} × ${video.height}, ${video.codec}, ${video.pix_fmt}` : "",
      ],
      ["Encoder", plan.encoder],
      ["Cut into", `about ${plural(plan.segments, "segment")}`],
      ["Container", plan.container],
      [
        "Workers that can",
        able
          ? `${count(able)}: ${told}${able > MOST_NAMES ? " and more" : ""}`
          : "none that is connected; it waits for one",
      ],
      [
        "Time",
        plan.estimate_s
          ? `about ${duration(plan.estimate_s)}`
          : "not known before a worker was measured with it",
      ],
      ["Size", plan.predicted_size_bytes ? `about ${bytes(plan.predicted_size_bytes)}` : ""],
    ]),
    [
      ...(plan.lost ?? []).map((/** @type {string} */ one) => `Not carried over: ${one}`),
      ...(plan.notes ?? []),
      ...(plan.warnings ?? []),
    ].map((text) => h("p", { class: "callout wait" }, icon("warning"), h("span", null, text))),
  );
}
