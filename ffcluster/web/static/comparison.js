/** Source and result, one over the other, with a divider to move; any moment of the film. */

import { picture } from "./api.js";
import { h } from "./dom.js";
import { timecode } from "./format.js";

const HEIGHT = 540;
const SETTLE_MS = 150;

export class Comparison {
  /** @param {string} path of the job @param {number} duration of the film in seconds */
  constructor(path, duration) {
    this.path = path;
    this.at = duration / 2;
    this.split = 50;
    this.timer = 0;
    this.control = new AbortController();
    this.source = h("canvas", { class: "compare-picture" });
    this.result = h("canvas", { class: "compare-picture compare-result" });
    this.line = h("div", { class: "compare-line" });
    this.missing = h("p", { class: "compare-missing", hidden: true });
    this.said = h("p", { class: "muted", role: "status" });
    const last = Math.max(0, duration - 0.05);
    this.stage = h(
      "div",
      {
        class: "compare-stage",
        onpointerdown: (/** @type {any} */ e) => this.grab(e),
        onpointermove: (/** @type {any} */ e) => e.buttons && this.grab(e),
      },
      this.source,
      this.result,
      this.line,
      this.missing,
      h("span", { class: "compare-tag" }, "Source"),
      h("span", { class: "compare-tag right" }, "Result"),
    );
    this.divider = h("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 1,
      value: "50",
      oninput: (/** @type {any} */ e) => this.divide(Number(e.target.value)),
    });
    this.element = h(
      "div",
      { class: "compare" },
      this.stage,
      h("label", null, "Divider", this.divider),
      h(
        "label",
        null,
        "Moment",
        h("input", {
          type: "range",
          min: 0,
          max: last,
          step: 0.04,
          value: String(this.at),
          oninput: (/** @type {any} */ e) => this.seek(Number(e.target.value)),
        }),
      ),
      this.said,
    );
    this.divide(50);
    this.seek(this.at);
  }

  close() {
    clearTimeout(this.timer);
    this.control.abort();
  }

  /** @param {PointerEvent} event */
  grab(event) {
    const box = this.stage.getBoundingClientRect();
    this.divide(
      Math.round(Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width))),
    );
    this.divider.value = String(this.split);
  }

  /** @param {number} percent shown of the source */
  divide(percent) {
    this.split = percent;
    this.result.style.setProperty("clip-path", `inset(0 0 0 ${percent}%)`);
    this.line.style.setProperty("left", `${percent}%`);
    this.divider.setAttribute("aria-valuetext", `${percent} % source, ${100 - percent} % result`);
  }

  /** @param {number} at seconds */
  seek(at) {
    this.at = at;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), SETTLE_MS);
  }

  async load() {
    this.control.abort();
    const control = (this.control = new AbortController());
    this.said.textContent = `${timecode(this.at)}: fetching both pictures…`;
    const one = (/** @type {string} */ side) =>
      picture(
        `${this.path}/preview`,
        { side, at_s: this.at.toFixed(3), height: HEIGHT },
        control.signal,
      );
    const [source, result] = await Promise.allSettled([one("source"), one("result")]);
    if (control.signal.aborted) return;
    const failed = [show(this.source, source), show(this.result, result)].filter(Boolean);
    const words = failed.join(" ") || "the source is left of the line, the result right of it.";
    this.missing.hidden = !failed.length;
    this.missing.textContent = failed.join(" ");
    this.said.textContent = `${timecode(this.at)}: ${words}`;
  }
}

/**
 * Draw what came; a picture of another moment must not stay beside it.
 * @param {HTMLCanvasElement} canvas
 * @param {PromiseSettledResult<ImageBitmap>} outcome
 * @returns {string} why there is none, or ""
 */
function show(canvas, outcome) {
  if (outcome.status === "fulfilled") {
    put(canvas, outcome.value);
    return "";
  }
  canvas.width = canvas.height = 0;
  const { message, advice = "" } = outcome.reason;
  return advice ? `${message} ${advice}` : message;
}

/** @param {HTMLCanvasElement} canvas @param {ImageBitmap} bitmap */
function put(canvas, bitmap) {
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  bitmap.close();
}
