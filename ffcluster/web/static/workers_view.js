/** All workers in a windowed table. */

import { lacking, may } from "./access.js";
import { workerButtons } from "./actions.js";
import { h } from "./dom.js";
import { ago, bytes, count, fps, plural } from "./format.js";
import { connected, empty } from "./parts.js";
import { Polite } from "./polite.js";
import { Windowed } from "./windowed.js";
import { WORKER_STATE_NAMES, workerBadge, workerWords } from "./words.js";

// Lines of a row that name devices.
const LINES = 2;
const SORTS = [
  ["name", "Name"],
  ["-fps", "Fastest first"],
];

export class WorkersView {
  /** @param {import("./main.js").App} app */
  constructor(app) {
    this.app = app;
    /** @type {"workers"} what the coordinator is to tell of */
    this.about = "workers";
    this.title = "Workers";
    this.fetching = new Polite(() => this.refresh());
    this.loaded = false;
    this.state = "";
    this.sort = SORTS[0][0];
    this.table = new Windowed({
      label: "Workers",
      name: "workers",
      rowHeight: 64,
      key: (worker) => worker.id,
      page: (cursor) =>
        app.store.fetchWorkers({ limit: 200, cursor, state: this.state, sort: this.sort }),
      columns: [
        {
          name: "Worker",
          cell: (worker) => [
            h(
              "a",
              {
                href: `#/workers/${encodeURIComponent(worker.id)}`,
                title: worker.name,
              },
              h("bdi", null, worker.name),
            ),
            h("span", { class: "muted small" }, worker.version),
          ],
        },
        {
          name: "State",
          cell: (worker) => [
            workerBadge(worker),
            worker.quarantines?.length
              ? h(
                  "span",
                  { class: "rests small", title: worker.quarantines[0].reason },
                  "rests in part",
                )
              : null,
          ],
        },
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
              may("client")
                ? workerButtons(app.store, worker, {
                    words: true,
                    one: true,
                    removed: () => this.refresh(),
                  })
                : null,
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

  /** @param {"state" | "sort"} what @param {string} value */
  choose(what, value) {
    this[what] = value;
    this.table.items = [];
    this.table.element.scrollTop = 0;
    this.loaded = false;
    this.refresh();
  }

  filters() {
    const choice = (
      /** @type {string} */ label,
      /** @type {"state" | "sort"} */ what,
      /** @type {string[][]} */ values,
    ) =>
      h(
        "label",
        { class: "inline" },
        h("span", { class: "sr" }, label),
        h(
          "select",
          {
            value: this[what],
            onchange: (/** @type {any} */ event) => this.choose(what, event.target.value),
          },
          values.map(([value, words]) => h("option", { value }, words)),
        ),
      );
    const states = WORKER_STATE_NAMES.map((name) => [name, workerWords(name)]);
    return [
      choice("Show workers that are", "state", [["", "All states"], ...states]),
      choice("Order", "sort", SORTS),
    ];
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
      h(
        "div",
        { class: "row" },
        store.status
          ? h("span", { class: "muted" }, `${count(connected(store.status))} connected`)
          : null,
        this.filters(),
      ),
    );
    if (this.table.failed) return [head, h("p", { class: "bad-text" }, this.table.failed)];
    if (this.loaded && !this.table.items.length && this.state)
      return [
        head,
        h(
          "div",
          { key: "filtered" },
          empty(
            `No worker is in the state “${workerWords(this.state)}”`,
            h(
              "button",
              { type: "button", onclick: () => this.choose("state", "") },
              "Show all workers",
            ),
          ),
        ),
      ];
    if (this.loaded && !this.table.items.length)
      return [
        head,
        h("div", { key: "empty" }, empty("No workers yet", this.app.startWorker.render())),
      ];
    return [
      head,
      lacking("client", "Steering workers"),
      h("div", { class: "card flush", key: "table", keep: this.table.element }),
      h(
        "details",
        { class: "card", key: "add" },
        h("summary", null, "Add a worker"),
        h("div", { class: "stack" }, this.app.startWorker.render()),
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
  if (!devices.size) return h("span", { class: "muted" }, "Nothing proven; see its doctor report");
  // What computes most of it is told first: a machine's GPUs, then its CPU.
  const told = [...devices].sort(([a], [b]) => Number(a === "CPU") - Number(b === "CPU"));
  const shown = told.length > LINES ? told.slice(0, LINES - 1) : told;
  const rest = told.length - shown.length;
  return [
    shown.map(([device, encoders]) =>
      h(
        "span",
        {
          class: told.length > 1 ? "line" : "line two",
          title: `${device}: ${encoders.join(", ")}`,
        },
        h("strong", null, device.replace(/^NVIDIA (GeForce )?|^Intel\(R\) |^AMD /, "")),
        ` ${encoders.join(", ")}`,
      ),
    ),
    rest ? h("span", { class: "line muted small" }, `and ${plural(rest, "more device")}`) : null,
  ];
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
