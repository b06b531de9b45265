/** Small parts that several screens show. */

import { h } from "./dom.js";
import { count, percent } from "./format.js";
import { notice } from "./notices.js";
import { icon } from "./words.js";

/** @param {string} name @param {any} value @param {string} [title] */
export const figure = (name, value, title) =>
  h("div", { class: "figure", title }, h("dt", null, name), h("dd", null, value));

/**
 * Progress of the whole film: committed, and on top of it what is being encoded.
 * @param {any} job
 */
export function progress(job) {
  const whole = job.frame_count;
  const done = job.state === "Completed" ? 100 : Math.min(99, percent(job.frames_done, whole));
  const share = (/** @type {number} */ frames) =>
    `${whole ? Math.min(100, (100 * frames) / whole) : 0}%`;
  return h(
    "div",
    {
      class: `progress ${job.state === "Completed" ? "good" : job.ended ? "quiet" : ""}`,
      role: "progressbar",
      "aria-label": `Progress of ${job.source_name}`,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": done,
      "aria-valuetext": whole
        ? `${done} %, ${count(job.frames_done)} of ${count(whole)} frames`
        : "Not known yet",
    },
    h("div", {
      class: "progress-done",
      style: { width: share(job.state === "Completed" ? whole : job.frames_done) },
    }),
    h("div", {
      class: "progress-committed",
      style: { width: share(job.state === "Completed" ? whole : job.frames_committed) },
    }),
  );
}

/** @param {any} job */
export const percentage = (job) =>
  job.state === "Completed" ? 100 : Math.min(99, percent(job.frames_done, job.frame_count));

/** A command to copy. @param {string} text */
export function command(text) {
  const copy = async (/** @type {any} */ event) => {
    const shown = event.currentTarget.previousSibling;
    const copied = await navigator.clipboard?.writeText(text).then(
      () => true,
      () => false,
    );
    if (copied || copySelected(shown)) notice("Copied.");
    else
      notice("The browser does not let the page copy; it is selected, copy it by keyboard.", "bad");
  };
  return h(
    "div",
    { class: "command" },
    h("code", { tabindex: "0", role: "group", "aria-label": "Command" }, text),
    h("button", { type: "button", onclick: copy }, icon("copy"), "Copy"),
  );
}

/**
 * Browsers have `navigator.clipboard` for pages that came by TLS or from their own machine only;
 * this old way they have everywhere.
 * @param {Node} shown
 */
function copySelected(shown) {
  getSelection()?.selectAllChildren(shown);
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  }
}

/** What to do when there is nothing to show. @param {string} title @param {...any} content */
export const empty = (title, ...content) =>
  h("div", { class: "empty" }, h("h2", null, title), content);

/** Workers that are connected. @param {any} status */
export function connected(status) {
  const states = status?.workers ?? {};
  return Object.entries(states).reduce(
    (sum, [state, number]) => (state === "Disconnected" || state === "Absent" ? sum : sum + number),
    0,
  );
}

/** @param {string} title @param {any} tools @param {...any} content */
export const card = (title, tools, ...content) =>
  h(
    "section",
    { class: "card", key: title, "aria-label": title },
    h("header", { class: "card-head" }, h("h2", null, title), h("div", { class: "row" }, tools)),
    content,
  );

/** @param {[string, any][]} rows those without a value are left out */
export const facts = (rows) =>
  h(
    "dl",
    { class: "facts" },
    rows
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
  );

/** @param {string} label @param {string[]} heads @param {any[][]} rows */
export const table = (label, heads, rows) =>
  h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": label },
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((row) =>
          h(
            "tr",
            null,
            row.map((cell) => h("td", null, cell)),
          ),
        ),
      ),
    ),
  );

/** Save what an address leads to. @param {string} url @param {string} name */
export function follow(url, name) {
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
