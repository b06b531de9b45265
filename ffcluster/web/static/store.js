/**
 * What the page knows: jobs, workers and the cluster's status, fetched once and kept right by deltas.
 *
 * A delta that comes while an answer is on its way is applied again after it: the answer may be
 * older than the delta.
 */

import { get } from "./api.js";

/** @typedef {{kind: string, data: any}} Delta */

export class Store {
  /** @param {() => void} changed called after every change */
  constructor(changed) {
    this.changed = changed;
    /** @type {Map<string, any>} */
    this.jobs = new Map();
    /** @type {Map<string, any>} */
    this.workers = new Map();
    /** @type {any} */
    this.status = null;
    // How far the coordinator's clock is ahead of this machine's.
    this.ahead_ms = 0;
    this.fetching = 0;
    /** @type {Delta[]} */
    this.deltas = [];
  }

  /** Forget everything, for example because the token changed. */
  clear() {
    this.jobs.clear();
    this.workers.clear();
    this.status = null;
    this.changed();
  }

  /** The coordinator's time in milliseconds. */
  now() {
    return Date.now() + this.ahead_ms;
  }

  /** @param {string} kind @param {any} data */
  take(kind, data) {
    if (kind === "hello" && data.server_time)
      this.ahead_ms = Date.parse(data.server_time) - Date.now();
    if (!["job", "shares", "worker", "status"].includes(kind)) return;
    if (this.fetching) this.deltas.push({ kind, data });
    this.apply(kind, data);
    this.changed();
  }

  /** @param {string} kind @param {any} data */
  apply(kind, data) {
    if (kind === "status") {
      if (this.status) this.status = { ...this.status, ...(data.changes ?? data) };
      return;
    }
    if (kind === "shares") return this.applyShares(data);
    const known = kind === "job" ? this.jobs : this.workers;
    if (data.removed) known.delete(data.id);
    else if (known.has(data.id)) known.set(data.id, { ...known.get(data.id), ...data.changes });
  }

  /** What workers do for a job: what is new of each, and who is not shown any more. @param {any} data */
  applyShares(data) {
    const job = this.jobs.get(data.job_id);
    if (!job) return;
    const rows = new Map((job.shares ?? []).map((/** @type {any} */ row) => [row.worker_id, row]));
    for (const row of data.shares)
      rows.set(row.worker_id, { ...rows.get(row.worker_id), ...row });
    for (const worker of data.gone ?? []) rows.delete(worker);
    this.jobs.set(data.job_id, { ...job, shares: [...rows.values()] });
  }

  /**
   * Fetch, take in what came, then what was said meanwhile.
   * @template T
   * @param {() => Promise<T>} fetched
   * @param {(answer: T) => void} keep
   * @returns {Promise<T>}
   */
  async during(fetched, keep) {
    const start = this.fetching ? this.deltas.length : 0;
    this.fetching += 1;
    try {
      const answer = await fetched();
      keep(answer);
      for (const { kind, data } of this.deltas.slice(start)) this.apply(kind, data);
      return answer;
    } finally {
      this.fetching -= 1;
      if (!this.fetching) this.deltas = [];
      this.changed();
    }
  }

  fetchStatus() {
    return this.during(
      () => get("/status"),
      (status) => (this.status = status),
    );
  }

  /** @param {string} id */
  fetchJob(id) {
    return this.during(
      () => get(`/jobs/${encodeURIComponent(id)}`),
      (job) => this.jobs.set(id, job),
    );
  }

  /**
   * @param {Record<string, any>} values
   * @returns {Promise<{items: any[], next_cursor: string | null}>}
   */
  fetchJobs(values) {
    return this.during(
      () => get("/jobs", values),
      (page) => this.keep(this.jobs, page),
    );
  }

  /** @param {string} id */
  fetchWorker(id) {
    return this.during(
      () => get(`/workers/${encodeURIComponent(id)}`),
      (worker) => this.workers.set(id, worker),
    );
  }

  /**
   * @param {Record<string, any>} values
   * @returns {Promise<{items: any[], next_cursor: string | null}>}
   */
  fetchWorkers(values) {
    return this.during(
      () => get("/workers", values),
      (page) => this.keep(this.workers, page),
    );
  }

  /** @param {Map<string, any>} known @param {{items: any[]}} page */
  keep(known, page) {
    for (const item of page.items) known.set(item.id, item);
  }
}
