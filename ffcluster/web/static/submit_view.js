/** Submitting a film: choose it, choose the settings, see the plan, send it off. */

import { lacking, may } from "./access.js";
import { change, get, upload } from "./api.js";
import { h } from "./dom.js";
import { bytes, duration } from "./format.js";
import { notice, problemBox } from "./notices.js";
import { card, facts } from "./parts.js";
import { planFacts } from "./plan.js";
import { ownDefaults, ownForm, profileFacts, profileOf } from "./profiles.js";
import { icon } from "./words.js";

const OWN = "own settings";
const DEFAULT = "";

export class SubmitView {
  /** @param {import("./main.js").App} app */
  constructor(app) {
    this.app = app;
    this.title = "New job";
    /** @type {any[]} */
    this.profiles = [];
    /** @type {File | null} */
    this.file = null;
    this.serverPath = "";
    this.uploadId = "";
    this.sent = 0;
    this.started = 0;
    this.control = new AbortController();
    this.chosen = DEFAULT;
    this.own = ownDefaults();
    this.output = "";
    this.priority = 0;
    this.options = { allow_missing: false, allow_damaged: false, mix: false, fallback: false };
    /** @type {any} */
    this.plan = null;
    this.planning = 0;
    /** @type {any} */
    this.problem = null;
    this.sending = false;
    // The same submission twice, for example after a lost answer, makes one job.
    this.key = newKey();
    /** What the output would be called if nobody gave it a name. */
    this.suggestion = "";
  }

  // What was begun goes on while another screen is looked at.
  close() {}

  /** Give it up. */
  abandon() {
    this.control.abort();
  }

  get uploading() {
    return Boolean(this.file && !this.uploadId);
  }

  async refresh() {
    if (!may("client")) return this.app.draw();
    try {
      this.profiles = (await get("/profiles")).items;
    } catch (error) {
      this.problem = error;
    }
    this.app.draw();
  }

  take() {}

  // --- the source ------------------------------------------------------------------------------

  /** @param {File} file */
  async takeFile(file) {
    this.control.abort();
    const control = (this.control = new AbortController());
    Object.assign(this, {
      file,
      serverPath: "",
      uploadId: "",
      sent: 0,
      started: Date.now(),
      plan: null,
      problem: null,
    });
    this.suggest(file.name);
    this.app.draw();
    try {
      const place = await change("POST", "/uploads", { name: file.name, size_bytes: file.size });
      await upload(
        file,
        place,
        (sent) => {
          this.sent = sent;
          this.app.draw();
        },
        control.signal,
      );
      if (control.signal.aborted) return;
      this.uploadId = place.id;
      await this.makePlan();
    } catch (error) {
      if (control.signal.aborted) return;
      this.file = null;
      this.problem = error;
    }
    this.app.draw();
  }

  /** @param {string} path */
  takePath(path) {
    this.control.abort();
    Object.assign(this, {
      file: null,
      serverPath: path.trim(),
      uploadId: "",
      plan: null,
      problem: null,
    });
    if (path) this.suggest(path.split(/[\\/]/).pop() ?? "");
    if (path) this.makePlan();
    this.app.draw();
  }

  /** Name the output after the film, unless a person named it. @param {string} film */
  suggest(film) {
    const named = this.output !== this.suggestion;
    this.suggestion = `${film.replace(/\.[^.]*$/, "")}.mp4`;
    if (!named) this.output = this.suggestion;
  }

  get ready() {
    return Boolean(this.uploadId || this.serverPath);
  }

  /** The body of `POST /jobs` and of `POST /plan`. */
  request() {
    /** @type {Record<string, any>} */
    const request = {
      source: this.uploadId ? { upload_id: this.uploadId } : { server_path: this.serverPath },
    };
    if (this.file) request.name = this.file.name;
    if (this.output) request.output_name = this.output;
    if (this.chosen === OWN) request.profile = profileOf(this.own);
    else if (this.chosen !== DEFAULT) request.profile_name = this.chosen;
    if (this.priority) request.priority = this.priority;
    for (const name of /** @type {const} */ (["allow_missing", "allow_damaged", "mix"]))
      if (this.options[name]) request[name] = true;
    if (this.options.fallback) request.fallback = "allow";
    return request;
  }

  /** Something was changed: the plan is another one, and so is the job. */
  changed() {
    this.key = newKey();
    this.plan = null;
    if (this.ready) this.makePlan();
    this.app.draw();
  }

  async makePlan() {
    const number = (this.planning += 1);
    this.problem = null;
    this.app.draw();
    try {
      const plan = await change("POST", "/plan", this.request());
      if (number === this.planning) this.plan = plan;
    } catch (error) {
      if (number === this.planning) this.problem = error;
    }
    this.app.draw();
  }

  async submit() {
    this.sending = true;
    this.problem = null;
    this.app.draw();
    try {
      const job = await change("POST", "/jobs", this.request(), { "Idempotency-Key": this.key });
      notice(`${job.source_name} is submitted.`);
      this.app.draft = null;
      if (this.app.view === this) location.hash = `#/jobs/${encodeURIComponent(job.id)}`;
    } catch (error) {
      this.problem = error;
    }
    this.sending = false;
    this.app.draw();
  }

  // --- what it looks like ------------------------------------------------------------------------

  render() {
    const why = lacking("client", "Submitting jobs");
    if (why) return [h("h1", null, "New job"), why];
    return [
      h("div", { class: "page-head", key: "head" }, h("h1", null, "New job")),
      h(
        "form",
        {
          class: "submit",
          key: "form",
          onsubmit: (/** @type {Event} */ event) => {
            event.preventDefault();
            this.submit();
          },
        },
        card("1. The film", null, this.sourcePart()),
        card("2. The settings", null, this.settingsPart()),
        card("3. The plan", null, this.planPart()),
      ),
    ];
  }

  sourcePart() {
    const pick = (/** @type {any} */ event) =>
      event.target.files[0] && this.takeFile(event.target.files[0]);
    const drop = h(
      "label",
      { class: "drop", key: "drop" },
      icon(this.uploadId ? "done" : "upload"),
      h(
        "span",
        { class: "wrap" },
        this.file
          ? h("strong", null, h("bdi", null, this.file.name))
          : h("strong", null, "Drop a film here, or choose one"),
      ),
      h(
        "span",
        { class: "muted" },
        this.file
          ? this.uploadWords()
          : "It is sent to the coordinator in blocks; an interrupted upload goes on.",
      ),
      this.file
        ? h("span", { class: "muted small" }, "Drop or choose another to take that instead.")
        : null,
      h("input", {
        type: "file",
        class: "sr",
        onchange: pick,
        accept: "video/*,.mkv,.mxf,.ts,.y4m,.webm,.mov,.mp4",
      }),
    );
    return [
      drop,
      this.file
        ? h(
            "div",
            {
              class: "progress",
              key: "sent",
              role: "progressbar",
              "aria-label": "Upload",
              "aria-valuemin": 0,
              "aria-valuemax": 100,
              "aria-valuenow": this.share,
            },
            h("div", { class: "progress-committed", style: { width: `${this.share}%` } }),
          )
        : null,
      h(
        "label",
        { key: "path" },
        "Or a path on the coordinator's machine",
        h("input", {
          value: this.serverPath,
          placeholder: "/films/holiday.mkv",
          autocomplete: "off",
          spellcheck: "false",
          onchange: (/** @type {any} */ event) => this.takePath(event.target.value),
        }),
      ),
    ];
  }

  get share() {
    return this.file?.size ? Math.floor((100 * this.sent) / this.file.size) : 100;
  }

  uploadWords() {
    const size = this.file?.size ?? 0;
    if (this.uploadId) return `${bytes(size)}, uploaded.`;
    const rate = this.sent / Math.max(0.2, (Date.now() - this.started) / 1000);
    return `${bytes(this.sent)} of ${bytes(size)} sent${this.sent ? `, ${duration((size - this.sent) / rate)} left` : ""}`;
  }

  settingsPart() {
    const choose = (/** @type {any} */ event) => {
      this.chosen = event.target.value;
      this.changed();
    };
    const named = this.profiles.find((profile) => profile.name === this.chosen);
    const check = (/** @type {keyof SubmitView["options"]} */ name, /** @type {string} */ words) =>
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: this.options[name],
          onchange: (/** @type {any} */ event) => {
            this.options[name] = event.target.checked;
            this.changed();
          },
        }),
        h("span", null, words),
      );
    return [
      h(
        "div",
        { class: "fields" },
        h(
          "label",
          null,
          "Profile",
          h(
            "select",
            { value: this.chosen, onchange: choose },
            h("option", { value: DEFAULT }, "The coordinator's default"),
            this.profiles.map((profile) => h("option", { value: profile.name }, profile.name)),
            h("option", { value: OWN }, "Own settings…"),
          ),
        ),
        h(
          "label",
          null,
          "Name of the output",
          h("input", {
            value: this.output,
            placeholder: "out.mp4",
            autocomplete: "off",
            spellcheck: "false",
            onchange: (/** @type {any} */ event) => {
              this.output = event.target.value.trim();
              this.changed();
            },
          }),
        ),
        h(
          "label",
          null,
          "Priority",
          h("input", {
            type: "number",
            step: "1",
            value: String(this.priority),
            onchange: (/** @type {any} */ event) => {
              this.priority = Number(event.target.value) || 0;
              this.changed();
            },
          }),
        ),
      ),
      named ? facts(profileFacts(named.profile ?? named)) : null,
      this.chosen === OWN
        ? h(
            "div",
            { key: "own" },
            ownForm(this.own, () => this.changed()),
          )
        : null,
      h(
        "details",
        { key: "more" },
        h("summary", null, "What may happen when something is in the way"),
        h(
          "div",
          { class: "checks" },
          check("allow_missing", "Publish without segments that no worker can encode"),
          check("allow_damaged", "Encode what is there of a damaged source"),
          check("mix", "Let encoders that write different headers share the file"),
          check("fallback", "Let software stand in for hardware that is missing"),
        ),
      ),
    ];
  }

  /** What can be had all the same of a film that cannot be had as it is. */
  remedy() {
    if (this.problem?.code !== "source_damaged" || this.options.allow_damaged) return null;
    const allow = () => {
      this.options.allow_damaged = true;
      this.changed();
    };
    return h(
      "div",
      { class: "row", key: "remedy" },
      h("button", { type: "button", onclick: allow }, "Encode what is there of it"),
    );
  }

  planPart() {
    const send = h(
      "button",
      { type: "submit", class: "primary", key: "send", disabled: !this.ready || this.sending },
      icon("play"),
      this.sending ? "Submitting…" : "Submit the job",
    );
    const said = this.plan
      ? planFacts(this.plan)
      : this.problem
        ? null
        : h(
            "p",
            { class: "muted", role: "status" },
            this.ready ? "Looking at the film…" : "Choose a film to see what would happen to it.",
          );
    return [problemBox(this.problem), this.remedy(), said, h("div", { class: "row" }, send)];
  }
}

/** Works without a secure context too, unlike `randomUUID`. */
const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
