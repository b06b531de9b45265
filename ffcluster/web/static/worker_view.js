/** One worker: what it can do, what it cannot and why, how fast it is, how busy it is. */

import { workerButtons } from "./actions.js";
import { h } from "./dom.js";
import { ago, bytes, clock, count, fps, plural, speed } from "./format.js";
import { problemBox } from "./notices.js";
import { card, facts, figure, table } from "./parts.js";
import { icon, workerBadge } from "./words.js";
import { average, gpuWords } from "./workers_view.js";

export class WorkerView {
  /** @param {import("./main.js").App} app @param {string} id */
  constructor(app, id) {
    this.app = app;
    /** @type {"workers"} what the coordinator is to tell of */
    this.about = "workers";
    this.id = id;
    this.title = "Worker";
    /** @type {any} */
    this.problem = null;
  }

  close() {}

  async refresh() {
    try {
      this.title = (await this.app.store.fetchWorker(this.id)).name;
      this.problem = null;
    } catch (error) {
      this.problem = error;
    }
    this.app.draw();
  }

  take() {}

  render() {
    const { store } = this.app;
    const worker = store.workers.get(this.id);
    if (!worker)
      return [
        h("h1", null, "Worker"),
        this.problem
          ? problemBox(this.problem)
          : h("p", { class: "muted" }, "Asking the coordinator…"),
      ];
    const away = () => (location.hash = "#/workers");
    return [
      h("p", { class: "crumbs" }, h("a", { href: "#/workers" }, "Workers")),
      h(
        "div",
        { class: "page-head" },
        h("h1", null, h("bdi", null, worker.name), " ", workerBadge(worker)),
        h("div", { class: "row" }, workerButtons(store, worker, { words: true, removed: away })),
      ),
      card(
        "Now",
        null,
        h("dl", { class: "figures wide" }, this.figures(worker)),
        meters(worker.load),
      ),
      card("Encoders", null, capabilities(worker.capabilities ?? [])),
      card("Doctor report", null, diagnoses(worker)),
      (worker.measurements ?? []).length
        ? card("Benchmarks", null, measurements(worker.measurements))
        : null,
      card(
        "Machine",
        null,
        facts([
          ["Id", worker.id],
          ["Address", worker.address],
          ["System", worker.platform],
          ["Cores", count(worker.cpus)],
          ["ffcluster", worker.version],
          ["ffmpeg", (worker.builds ?? []).join(", ") || worker.ffmpeg],
          [
            "Plugins",
            (worker.plugins ?? [])
              .map(
                (/** @type {any} */ plugin) =>
                  `${plugin.name} ${plugin.version}${plugin.error ? ` (${plugin.error})` : ""}`,
              )
              .join(", "),
          ],
        ]),
      ),
    ];
  }

  /** @param {any} worker */
  figures(worker) {
    return [
      figure("Rate now", `${fps(worker.fps)} fps`),
      figure(
        "Average of a slot",
        average(worker) === null ? "–" : `${fps(average(worker))} fps`,
        "Frames per second of one encoder over what it encoded lately",
      ),
      figure("Running", count(worker.running)),
      figure("Segments", count(worker.segments_done)),
      figure("Frames", count(worker.frames_done)),
      figure("Failures", count(worker.failures)),
      figure("Last heard", ago(worker.last_heard_at, this.app.store.now())),
    ];
  }
}

/** @param {any} load */
function meters(load) {
  if (!load) return h("p", { class: "muted" }, "This worker says nothing of its machine's load.");
  const memory = load.memory_total_bytes
    ? (100 * load.memory_used_bytes) / load.memory_total_bytes
    : 0;
  return h(
    "div",
    { class: "meters" },
    meter("CPU", load.cpu_percent ?? 0, `${count(load.cpu_percent)} %`),
    meter(
      "Memory",
      memory,
      `${bytes(load.memory_used_bytes)} of ${bytes(load.memory_total_bytes)}`,
    ),
    (load.gpus ?? []).map((/** @type {any} */ gpu) =>
      meter(gpu.name || "GPU", gpu.utilisation_percent ?? 0, gpuWords(gpu)),
    ),
  );
}

/** @param {string} name @param {number} share @param {string} words */
const meter = (name, share, words) =>
  h(
    "div",
    { class: "meter" },
    h("span", null, name),
    h(
      "div",
      {
        class: "progress",
        role: "meter",
        "aria-label": name,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.round(share),
        "aria-valuetext": words,
      },
      h("div", { class: "progress-done", style: { width: `${Math.min(100, share)}%` } }),
    ),
    h("span", { class: "muted" }, words),
  );

/** @param {any[]} all */
function capabilities(all) {
  if (!all.length)
    return h(
      "p",
      { class: "muted" },
      "Nothing that encodes was proven on this machine. The doctor report says why.",
    );
  return table(
    "Encoders",
    ["Encoder", "Backend", "Device", "At once", "Bits", "Driver", "Without"],
    all.map((one) => [
      h("code", null, one.encoder),
      one.backend || "–",
      one.device_name || one.device || "CPU",
      count(one.slots),
      (one.bit_depths ?? []).join(", "),
      one.driver || "–",
      (one.without ?? []).join(", ") || "–",
    ]),
  );
}

/** @param {any} worker */
function diagnoses(worker) {
  const resting = (worker.quarantines ?? []).map((/** @type {any} */ entry) =>
    h(
      "li",
      { class: "finding" },
      icon("warning"),
      h(
        "div",
        null,
        h(
          "p",
          null,
          h(
            "strong",
            null,
            [entry.backend, entry.device].filter(Boolean).join(" · ") || "The whole worker",
          ),
          ` kept failing and rests until ${clock(entry.until)}.`,
        ),
        h("p", { class: "muted" }, entry.reason),
      ),
    ),
  );
  const found = (worker.diagnoses ?? []).map((/** @type {any} */ one) =>
    h(
      "li",
      { class: "finding" },
      icon(one.trouble === "broken" ? "failed" : one.trouble === "busy" ? "clock" : "minus"),
      h(
        "div",
        null,
        h(
          "p",
          null,
          h("strong", null, [one.backend, one.encoder, one.device].filter(Boolean).join(" · ")),
          ` ${one.trouble}: ${one.cause}`,
        ),
        one.hint ? h("p", { class: "muted" }, one.hint) : null,
      ),
    ),
  );
  if (!resting.length && !found.length)
    return h("p", null, icon("done"), " Everything that could encode here does.");
  return [
    resting.length ? h("ul", { class: "findings", key: "resting" }, resting) : null,
    found.length
      ? h(
          "p",
          { class: "muted", key: "count" },
          `${plural(found.length, "thing")} could encode here and ${found.length === 1 ? "does" : "do"} not, or only in part.`,
        )
      : null,
    h("ul", { class: "findings", key: "found" }, found),
  ];
}

/** @param {any[]} all */
const measurements = (all) =>
  table(
    "Benchmarks",
    ["Encoder", "Preset", "Picture", "Rate", "Speed", "At once", "VMAF"],
    all.map((one) => [
      h("code", null, one.encoder),
      one.preset || "default",
      `${one.width} × ${one.height}`,
      `${fps(one.fps)} fps`,
      speed(one.speed),
      count(one.sessions),
      one.vmaf === null ? "–" : one.vmaf.toFixed(1),
    ]),
  );
