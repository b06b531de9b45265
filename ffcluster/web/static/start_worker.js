/**
 * How to start a worker: the command, and for administrators a token of its own to start it with.
 *
 * A new token's secret is kept here only, until whoever made it says that it is in its place.
 */

import { may } from "./access.js";
import { change } from "./api.js";
import { h } from "./dom.js";
import { attempt, say } from "./notices.js";
import { command, follow } from "./parts.js";
import { icon } from "./words.js";

const LONGEST_NAME = 64;
const LOOPBACK = /^(localhost|127\..*|\[?::1\]?)$/;

/** @typedef {{token: {id: string, name: string, scope: string}, secret: string}} Made */

export class StartWorker {
  /** @param {import("./main.js").App} app */
  constructor(app) {
    this.app = app;
    this.name = "worker";
    /** @type {Made | null} */
    this.made = null;
    this.busy = false;
  }

  forget() {
    this.made = null;
    this.app.draw();
  }

  async make() {
    this.busy = true;
    this.app.draw();
    await attempt(async () => {
      this.made = await makeToken(this.name, "worker");
    });
    this.busy = false;
    this.app.draw();
    focusMade();
  }

  render() {
    const { status } = this.app.store;
    const text = workerCommand(status);
    const local = /--server-ip=(127\.|localhost|::1)/.test(text);
    if (this.made) return madeToken(this.made, text, () => this.forget());
    const makes = status?.token_required && may("admin");
    return [
      h(
        "p",
        { key: "worker-why" },
        "Workers do the encoding. ",
        local
          ? "This coordinator listens on its own machine only, so start one there"
          : "Start one on every machine that shall help, the coordinator's own included",
        makes ? ". It needs a token: one click makes it and shows the commands." : ":",
      ),
      makes
        ? [
            this.form(),
            h(
              "details",
              { key: "worker-other" },
              h("summary", null, "With a token that there is already"),
              command(text),
            ),
          ]
        : h("div", { key: "worker-command" }, command(text)),
      status?.token_required && !may("admin")
        ? h(
            "p",
            { class: "small", key: "worker-token" },
            "FILE holds a token of scope worker. Whoever has the coordinator's own token makes it: ",
            h("code", null, "ffcluster tokens add NAME --scope worker --output FILE"),
          )
        : null,
      local
        ? h(
            "p",
            { class: "small", key: "worker-local" },
            "For workers on other machines, start the coordinator with ",
            h("code", null, "--interface=0.0.0.0"),
            status?.token_required
              ? "."
              : [
                  " and ",
                  h("code", null, "--token-file=FILE"),
                  "; ",
                  h("code", null, "ffcluster token --output FILE"),
                  " makes one.",
                ],
          )
        : null,
    ];
  }

  form() {
    return h(
      "form",
      {
        class: "inline-form",
        key: "worker-form",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.make();
        },
      },
      h(
        "label",
        null,
        "Name of the token",
        h("input", {
          value: this.name,
          required: true,
          maxlength: LONGEST_NAME,
          autocomplete: "off",
          spellcheck: "false",
          oninput: (/** @type {any} */ event) => (this.name = event.target.value),
        }),
      ),
      h(
        "button",
        { type: "submit", class: "primary", disabled: this.busy },
        icon("key"),
        "Make a token and show the command",
      ),
    );
  }
}

/** @param {string} name @param {string} scope @returns {Promise<Made>} */
export async function makeToken(name, scope) {
  const made = await change("POST", "/tokens", { name: name.trim(), scope });
  say(`The token for ${made.token.name} is made.`);
  return made;
}

/** A keyboard goes on where the secret is. */
export function focusMade() {
  requestAnimationFrame(() =>
    requestAnimationFrame(() => document.getElementById("made")?.focus()),
  );
}

/** What starts a worker on another machine, with FILE for the token's. @param {any} status */
export function workerCommand(status) {
  const text = status?.worker_command || "twistd -n ffcluster-worker --server-ip=ADDRESS";
  const { protocol, hostname, port } = location;
  // What this browser reached the coordinator by is better than the name it has for itself.
  if (protocol !== "http:" || LOOPBACK.test(hostname)) return text;
  const address = hostname.replace(/^\[|\]$/g, "");
  return text
    .replace(/--server-ip=\S+/, `--server-ip=${address}`)
    .replace(/--server-port=\d+/, `--server-port=${port || 80}`);
}

/**
 * The only sight of a new secret, and what to do with it.
 * @param {Made} made
 * @param {string} use the command that shows it, with FILE where its file is named
 * @param {() => void} done
 */
export function madeToken(made, use, done) {
  const { token, secret } = made;
  const file = `${token.name.replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "") || token.id}.token`;
  const save = () => {
    const url = URL.createObjectURL(new Blob([`${secret}\n`], { type: "text/plain" }));
    follow(url, file);
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  return h(
    "div",
    {
      class: "made",
      id: "made",
      key: token.id,
      tabindex: "-1",
      role: "group",
      "aria-label": "The new token",
    },
    h(
      "p",
      null,
      h("strong", { class: "wrap" }, `The token for ${token.name}`),
      " is shown this once: the coordinator keeps no more of it than a hash.",
    ),
    h("h3", null, "1. On that machine, put it into a file that only its owner can read"),
    // The space keeps the line out of the history of most shells.
    command(` (umask 077; printf '%s\\n' '${secret}' > ${file})`),
    h(
      "p",
      { class: "small" },
      "The space in front keeps it out of most shells' history. Or ",
      h("button", { type: "button", class: "link", onclick: save }, "save it as a file"),
      `, take that there, and chmod 600 ${file}.`,
    ),
    h("h3", null, token.scope === "worker" ? "2. Start the worker there" : "2. Use it there"),
    command(use.replace(/\bFILE\b/, file)),
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", onclick: done }, icon("done"), "It is in its place"),
      h(
        "span",
        { class: "small" },
        "Lost it? Revoke it on the screen ",
        h("a", { href: "#/access" }, "Access"),
        " and make another.",
      ),
    ),
  );
}
