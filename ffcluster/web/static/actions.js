/** What a person can have done to a job or a worker, as buttons. */

import { lacking, may } from "./access.js";
import { change } from "./api.js";
import { h } from "./dom.js";
import { attempt, confirm } from "./notices.js";
import { icon, sourceGone } from "./words.js";

/** @typedef {import("./store.js").Store} Store */

/** @param {Store} store @param {any} job @param {string} verb */
async function jobAction(store, job, verb) {
  const answer = await change("POST", `/jobs/${encodeURIComponent(job.id)}/${verb}`);
  if (answer?.id) store.jobs.set(answer.id, { ...store.jobs.get(answer.id), ...answer });
  store.changed();
}

/** @param {Store} store @param {any} job @param {number} priority */
async function prioritise(store, job, priority) {
  const answer = await change("PATCH", `/jobs/${encodeURIComponent(job.id)}`, { priority });
  store.jobs.set(job.id, { ...store.jobs.get(job.id), ...(answer ?? { priority }) });
  store.changed();
}

/** @param {Store} store @param {any} job */
async function cancel(store, job) {
  const sure = await confirm(
    `Cancel ${job.source_name}?`,
    "Its encoders are stopped, and what is encoded is removed. It can begin anew for as long as its source is there.",
    "Cancel the job",
  );
  if (sure)
    await attempt(() => jobAction(store, job, "cancel"), `${job.source_name} is cancelled.`);
}

/** @param {Store} store @param {any} job @param {() => void} [removed] */
async function remove(store, job, removed) {
  const sure = await confirm(
    `Remove ${job.source_name} from the list?`,
    "Its published file stays where it is; its history and its receipt are gone.",
    "Remove the job",
  );
  if (!sure) return;
  await attempt(async () => {
    await change("DELETE", `/jobs/${encodeURIComponent(job.id)}`);
    store.jobs.delete(job.id);
    store.changed();
    removed?.();
  }, `${job.source_name} is removed.`);
}

/**
 * @param {string} symbol
 * @param {string} label
 * @param {() => any} onclick
 * @param {string} [words] shown beside the symbol
 */
export const button = (symbol, label, onclick, words = "") =>
  h(
    "button",
    {
      type: "button",
      class: words ? "" : "square",
      key: label,
      "aria-label": label,
      title: label,
      onclick,
    },
    icon(symbol),
    words ? h("span", { class: "word" }, words) : null,
  );

/**
 * @param {Store} store
 * @param {any} job
 * @param {{words?: boolean, removed?: () => void}} [options]
 */
export function jobButtons(store, job, options = {}) {
  if (!may("client")) return options.words ? lacking("client", "Steering jobs") : null;
  const words = (/** @type {string} */ text) => (options.words ? text : "");
  const name = job.source_name;
  const run = (/** @type {string} */ verb, /** @type {string} */ done) => () =>
    attempt(() => jobAction(store, job, verb), done);
  if (job.ended) {
    return [
      job.state === "Completed" || sourceGone(job)
        ? null
        : button("retry", `Retry ${name}`, run("retry", `${name} is tried again.`), words("Retry")),
      button(
        "remove",
        `Remove ${name}`,
        () => remove(store, job, options.removed),
        words("Remove"),
      ),
    ];
  }
  return [
    job.paused
      ? button("play", `Resume ${name}`, run("resume", `${name} goes on.`), words("Resume"))
      : button(
          "pause",
          `Pause ${name}`,
          run("pause", `${name} is paused; what runs is finished.`),
          words("Pause"),
        ),
    button("cancelled", `Cancel ${name}`, () => cancel(store, job), words("Cancel")),
    h(
      "span",
      { class: "priority", key: "priority", role: "group", "aria-label": `Priority of ${name}` },
      button("minus", `Lower priority of ${name}`, () =>
        attempt(() => prioritise(store, job, job.priority - 1)),
      ),
      h(
        "span",
        { title: "Priority: jobs with a higher one get workers first" },
        h("span", { class: "sr" }, "Priority "),
        job.priority,
      ),
      button("plus", `Higher priority of ${name}`, () =>
        attempt(() => prioritise(store, job, job.priority + 1)),
      ),
    ),
  ];
}

/** @param {Store} store @param {any} worker @param {string} verb */
async function workerAction(store, worker, verb) {
  const answer = await change("POST", `/workers/${encodeURIComponent(worker.id)}/${verb}`);
  if (answer?.id) store.workers.set(answer.id, { ...store.workers.get(answer.id), ...answer });
  store.changed();
}

/** @param {Store} store @param {any} worker @param {() => void} [removed] */
async function forget(store, worker, removed) {
  const sure = await confirm(
    `Forget ${worker.name}?`,
    "What is known of its speed is lost. When it connects again it is a new worker.",
    "Forget the worker",
  );
  if (!sure) return;
  await attempt(async () => {
    await change("DELETE", `/workers/${encodeURIComponent(worker.id)}`);
    store.workers.delete(worker.id);
    store.changed();
    removed?.();
  }, `${worker.name} is forgotten.`);
}

/**
 * @param {Store} store
 * @param {any} worker
 * @param {{words?: boolean, one?: boolean, removed?: () => void}} [options] `one`: only what fits best
 */
export function workerButtons(store, worker, options = {}) {
  if (!may("client")) return options.words ? lacking("client", "Steering workers") : null;
  const words = (/** @type {string} */ text) => (options.words ? text : "");
  const run = (/** @type {string} */ verb, /** @type {string} */ done) => () =>
    attempt(() => workerAction(store, worker, verb), done);
  const { name } = worker;
  const away = worker.state === "Disconnected" || worker.state === "Absent";
  const buttons = [
    // Whatever rests because it kept failing is tried again, too.
    worker.drained_by_operator || worker.quarantines?.length
      ? button(
          "play",
          `Resume ${name}`,
          run("resume", `${name} is given work again.`),
          words("Resume"),
        )
      : null,
    away || worker.drained_by_operator
      ? null
      : button(
          "drain",
          `Drain ${name}`,
          run("drain", `${name} finishes what it has and gets nothing more.`),
          words("Drain"),
        ),
    away
      ? button(
          "remove",
          `Forget ${name}`,
          () => forget(store, worker, options.removed),
          words("Forget"),
        )
      : null,
  ].filter(Boolean);
  return options.one ? buttons.at(away ? -1 : 0) : buttons;
}
