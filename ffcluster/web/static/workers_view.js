/** All workers in a windowed table. */

import { workerButtons } from "./actions.js";
import { h } from "./dom.js";
import { ago, bytes, count, fps } from "./format.js";
import { connected, empty, noWorkers } from "./parts.js";
import { Polite } from "./polite.js";
import { Windowed } from "./windowed.js";
import { workerBadge } from "./words.js";

export class WorkersView {
  /** @param {import("./main.js").App} app */
  constructor(app) {
    this.app = app;
    this.title = "Workers";
    this.fetching = new Polite(() => this.refresh());
    this.loaded = false;
    this.table = new Windowed({
      label: "Workers",
      name: "workers",
      rowHeight: 64,
      key: (worker) => worker.id,
      page: (cursor) => app.store.fetchWorkers({ limit: 200, cursor }),
      columns: [
        {
          name: "Worker",
          cell: (worker) => [
            h("a", { href: `#/workers/${encodeURIComponent(worker.id)}` }, worker.name),
            h("span", { class: "muted small" }, worker.version),
          ],
        },
        { name: "State", cell: workerBadge },
        { name: "Encoders", wide: true, cell: backends },
        {
          name: "Rate",
          cell: (worker) => [
            `${fps(worker.fps)} fps`,
            h("span", { class: "muted small" }, averageWords(worker)),
          ],
        },
        { name: "Load", wide: true, cell: loadWords },
        { name: "Heard", wide: true, cell: (worker) => ago(worker.last_heard_at, app.store.now()) },
        {
          name: "Actions",
          cell: (worker) =>
            h(
              "div",
              { class: "row" },
              workerButtons(app.store, worker, { words: true, removed: () => this.refresh() }),
            ),
        },
      ],
    });
  }

  close() {
    this.fetching.close();
    this.table.close();
  }

  async refresh() {
    await this.table.refresh();
    this.loaded = true;
    this.app.draw();
  }

  /** @param {string} kind */
  take(kind) {
    if (kind === "worker.joined" || kind === "worker.removed") this.fetching.ask();
  }

  render() {
    const { store } = this.app;
    this.table.items = this.table.items
      .map((worker) => store.workers.get(worker.id))
      .filter(Boolean);
    this.table.draw();
    const head = h(
      "div",
      { class: "page-head" },
      h("h1", null, "Workers"),
      h("p", { class: "muted" }, store.status ? `${count(connected(store.status))} connected` : ""),
    );
    if (this.table.failed) return [head, h("p", { class: "bad-text" }, this.table.failed)];
    if (this.loaded && !this.table.items.length)
      return [head, h("div", { key: "empty" }, empty("No workers yet", noWorkers(store.status)))];
    return [
      head,
      h("div", { class: "card flush", key: "table", keep: this.table.element }),
      h(
        "details",
        { class: "card", key: "add" },
        h("summary", null, "Add a worker"),
        noWorkers(store.status),
      ),
    ];
  }
}

/** @param {any} worker */
export function backends(worker) {
  /** @type {Map<string, string[]>} device in words: its encoders */
  const devices = new Map();
  for (const capability of worker.capabilities ?? []) {
    const device = capability.device_name || capability.device || "CPU";
    devices.set(device, [...(devices.get(device) ?? []), capability.encoder]);
  }
  return [...devices]
    .slice(0, 2)
    .map(([device, encoders]) =>
      h(
        "span",
        { class: "line", title: encoders.join(", ") },
        h("strong", null, device),
        ` ${encoders.join(", ")}`,
      ),
    );
}

/** @param {any} worker */
export function average(worker) {
  return worker.average_fps ?? null;
}

/** @param {any} worker */
const averageWords = (worker) => (average(worker) === null ? "" : `${fps(average(worker))} a slot`);

/** @param {any} worker */
function loadWords(worker) {
  const load = worker.load;
  if (!load) return "–";
  const gpu = (load.gpus ?? [])[0];
  return [
    h(
      "span",
      { class: "line" },
      `CPU ${count(load.cpu_percent)} %, ${bytes(load.memory_used_bytes)} of ${bytes(load.memory_total_bytes)}`,
    ),
    gpu ? h("span", { class: "line muted small" }, `${gpu.name || "GPU"} ${gpuWords(gpu)}`) : null,
  ];
}

/** What a GPU tells of itself, without its name. @param {any} gpu */
export function gpuWords(gpu) {
  const parts = [
    gpu.utilisation_percent === null ? "" : `${count(gpu.utilisation_percent)} %`,
    gpu.memory_used_bytes === null ? "" : bytes(gpu.memory_used_bytes),
    gpu.temperature_c === null ? "" : `${count(gpu.temperature_c)} °C`,
  ];
  return parts.filter(Boolean).join(", ") || "–";
}
