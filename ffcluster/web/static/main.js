/**
 * Begins the page: one store, one stream of events, one view at a time by the address after `#`.
 */

import { fetchMe, forgetMe, may, whoAsks } from "./access.js";
import { AccessView } from "./access_view.js";
import { setToken, whenUnauthorized } from "./api.js";
import { h, render } from "./dom.js";
import { clock, fps, plural } from "./format.js";
import { JobView } from "./job_view.js";
import { JobsView, SORTS } from "./jobs_view.js";
import { Live } from "./live.js";
import { complain, notice, say } from "./notices.js";
import { connected } from "./parts.js";
import { StartWorker } from "./start_worker.js";
import { Store } from "./store.js";
import { SubmitView } from "./submit_view.js";
import { TokenView } from "./token_view.js";
import { WorkerView } from "./worker_view.js";
import { icon } from "./words.js";
import { WorkersView } from "./workers_view.js";

/**
 * @typedef {{title: string, jobId?: string, about?: "workers", close: () => void, refresh: () => Promise<void>,
 *   take: (kind: string, data: any) => void, render: () => any}} View
 */

// Anything that shows how long ago something was is written anew this often.
const TICK_MS = 5000;

export class App {
  constructor() {
    this.store = new Store(() => this.draw());
    this.live = new Live(
      (kind, data) => this.take(kind, data),
      (connection) => this.show(connection),
    );
    /** @type {{state: string, sort: string, pages: (string | null)[]}} which jobs were listed last */
    this.listed = { state: "", sort: SORTS[0][0], pages: [null] };
    this.startWorker = new StartWorker(this);
    /** @type {View} */
    this.view = new JobsView(this);
    /** @type {SubmitView | null} the job that is being made, also while another screen is shown */
    this.draft = null;
    this.drawing = 0;
    this.locked = false;
    this.said = "";
    whenUnauthorized(() => this.lock());
    addEventListener("hashchange", () => this.navigate());
    setInterval(() => this.tick(), TICK_MS);
    this.takeDrops();
  }

  begin() {
    const skip = /** @type {HTMLElement} */ (document.querySelector(".skip"));
    // The address after # names the screen, so the link must not change it.
    skip.onclick = (event) => {
      event.preventDefault();
      document.getElementById("main")?.focus();
    };
    this.navigate();
  }

  // --- where we are ----------------------------------------------------------------------------

  /** @returns {View} */
  route() {
    const [, screen = "", id = ""] = location.hash
      .split("/")
      .map((part) => decodeURIComponent(part));
    if (screen === "jobs" && id) return new JobView(this, id);
    if (screen === "workers" && id) return new WorkerView(this, id);
    if (screen === "workers") return new WorkersView(this);
    if (screen === "submit") return (this.draft ??= new SubmitView(this));
    if (screen === "access") return new AccessView(this);
    return new JobsView(this);
  }

  navigate() {
    if (this.locked) return;
    const first = this.said === "";
    this.view.close();
    this.view = this.route();
    const { jobId, about } = this.view;
    this.live.open(jobId ? { job_id: jobId } : { about: about ?? "jobs" });
    scrollTo(0, 0);
    this.draw();
    // A keyboard or a screen reader goes on from the new screen's beginning.
    if (!first) document.getElementById("main")?.focus();
  }

  /** The coordinator wants a token that we do not have. */
  lock() {
    if (this.locked) return;
    this.locked = true;
    this.live.close();
    this.view.close();
    this.store.clear();
    this.startWorker.forget();
    this.draft?.abandon();
    this.draft = null;
    forgetMe();
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    this.view = new TokenView(this, () => {
      this.locked = false;
      this.navigate();
    });
    this.draw();
  }

  /** Forget the token, so that another one can be shown. */
  leave() {
    setToken("");
    this.lock();
  }

  // --- what happens ----------------------------------------------------------------------------

  /** @param {string} kind @param {any} data */
  take(kind, data) {
    this.view.take(kind, data);
    this.store.take(kind, data);
    if (kind === "hello" || kind === "reset") this.refresh();
  }

  /** Fetch what is shown. */
  async refresh() {
    try {
      await Promise.all([this.store.fetchStatus(), fetchMe()]);
    } catch (error) {
      complain(error);
    }
    if (!this.locked) await this.view.refresh();
  }

  tick() {
    // The stream of one job says nothing of the cluster.
    const alone = this.view.jobId && this.connection?.state === "live" && !document.hidden;
    if (alone) this.store.fetchStatus().catch(() => {});
    this.draw();
  }

  /** @param {import("./live.js").Connection} connection */
  show(connection) {
    const before = this.connection?.state;
    this.connection = connection;
    if (connection.problem) notice(connection.problem, "bad");
    if (before === "live" && connection.state === "reconnecting")
      say("The connection is lost; what is shown is not up to date.");
    if (before === "reconnecting" && connection.state === "live") say("Live again.");
    this.draw();
  }

  takeDrops() {
    addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files") || this.locked) return;
      event.preventDefault();
      document.body.classList.toggle("dragging", may("client"));
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dragging");
    });
    addEventListener("drop", (event) => {
      document.body.classList.remove("dragging");
      const file = event.dataTransfer?.files[0];
      if (!file || this.locked) return;
      event.preventDefault();
      if (!may("client")) {
        notice(`${file.name} is not taken: submitting takes a token of scope client.`, "bad");
        return;
      }
      if ((event.dataTransfer?.files.length ?? 0) > 1)
        notice(`One film at a time: ${file.name} is taken, the others are not.`, "bad");
      this.draft ??= new SubmitView(this);
      this.draft.takeFile(file);
      location.hash = "#/submit";
    });
    addEventListener("beforeunload", (event) => {
      if (this.draft?.uploading) event.preventDefault();
    });
  }

  // --- what it looks like ------------------------------------------------------------------------

  draw() {
    if (this.drawing) return;
    // A hidden page is drawn when it is looked at again.
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.paint();
    });
  }

  paint() {
    render(/** @type {Element} */ (document.getElementById("bar")), this.bar());
    render(
      /** @type {Element} */ (document.getElementById("main")),
      this.warnings(),
      this.view.render(),
    );
    document.body.classList.toggle("looking", !may("client"));
    document.title = `${this.view.title} – ffcluster`;
    if (this.said !== this.view.title) {
      this.said = this.view.title;
      say(this.view.title);
    }
  }

  bar() {
    const { status } = this.store;
    const here = location.hash.split("/")[1] ?? "";
    const link = (/** @type {string} */ screen, /** @type {string} */ words) => {
      const current = (here || "jobs") === screen;
      return h("a", { href: `#/${screen}`, "aria-current": current ? "page" : null }, words);
    };
    return [
      h("a", { class: "brand", href: "#/jobs" }, "ffcluster"),
      this.locked
        ? null
        : h(
            "nav",
            { "aria-label": "Screens" },
            link("jobs", "Jobs"),
            link("workers", "Workers"),
            may("client") ? link("submit", this.draftWords()) : null,
            whoAsks() ? link("access", "Access") : null,
          ),
      h(
        "div",
        { class: "bar-status" },
        status
          ? h(
              "span",
              { class: "bar-figures" },
              `${plural(connected(status), "worker")} · ${fps(status.fps)} fps`,
            )
          : null,
        this.locked ? null : this.connectionWords(),
      ),
    ];
  }

  draftWords() {
    return this.draft?.uploading ? `New job · ${this.draft.share} %` : "New job";
  }

  connectionWords() {
    const { state, since, problem } = this.connection ?? this.live.connection;
    const at = clock(since.toISOString());
    if (state === "live")
      return h("span", { class: "badge good", key: "state" }, icon("idle"), "Live");
    if (state === "connecting")
      return h("span", { class: "badge wait", key: "state" }, icon("clock"), "Connecting");
    return h(
      "span",
      { class: "badge bad", key: "state", title: problem },
      icon("lost"),
      this.store.status ? `Stale since ${at}, reconnecting` : "Reconnecting",
    );
  }

  warnings() {
    const { status } = this.store;
    if (this.locked || !status?.warnings?.length) return null;
    return h(
      "div",
      { key: "warnings" },
      status.warnings.map((/** @type {string} */ text) =>
        h("p", { class: "callout bad" }, icon("warning"), h("span", null, text)),
      ),
    );
  }
}
new App().begin();
