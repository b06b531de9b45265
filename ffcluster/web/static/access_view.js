/** Who asks and what that opens; for administrators the tokens that were given out, and webhooks. */

import { may, whoAsks } from "./access.js";
import { change, get } from "./api.js";
import { h } from "./dom.js";
import { clock, plural } from "./format.js";
import { attempt, confirm, problemBox } from "./notices.js";
import { card, command, facts, table } from "./parts.js";
import { focusMade, madeToken, makeToken, workerCommand } from "./start_worker.js";
import { badge, icon } from "./words.js";

/** @type {Record<string, string>} */
const OPENS = {
  admin: "Everything: tokens and webhooks too.",
  client:
    "Submit and steer jobs, drain and forget workers, and see everything. No tokens, no webhooks.",
  viewer: "See everything and fetch results. Change nothing.",
  worker: "Come as a worker. See nothing.",
};
const GIVEN_OUT = ["worker", "client", "viewer"];
const USUAL_KINDS = "job.completed job.failed job.cancelled";
const DELIVERIES_SHOWN = 20;

export class AccessView {
  /** @param {import("./main.js").App} app */
  constructor(app) {
    this.app = app;
    this.title = "Access";
    /** @type {any[] | null} */
    this.tokens = null;
    /** @type {any[] | null} */
    this.webhooks = null;
    /** @type {any} */
    this.problem = null;
    /** @type {{tokens?: any, webhooks?: any}} why what was asked for is not there */
    this.refused = {};
    this.token = { name: "", scope: "worker" };
    /** @type {import("./start_worker.js").Made | null} */
    this.made = null;
    this.webhook = { url: "", kinds: USUAL_KINDS };
    /** @type {any} a new webhook and its secret */
    this.signed = null;
    /** @type {Map<string, any[]>} */
    this.deliveries = new Map();
  }

  close() {}
  take() {}

  async refresh() {
    if (may("admin")) {
      try {
        const [tokens, webhooks] = await Promise.all([get("/tokens"), get("/webhooks")]);
        [this.tokens, this.webhooks, this.problem] = [tokens.items, webhooks.items, null];
      } catch (error) {
        this.problem = error;
      }
    }
    this.app.draw();
  }

  /** Do something, then show what is there now. @param {() => Promise<any>} action @param {string} done */
  async change(action, done) {
    await attempt(action, done);
    await this.refresh();
  }

  /** Make something that a form asks for. @param {"tokens" | "webhooks"} what @param {() => Promise<any>} action */
  async make(what, action) {
    this.refused = {};
    try {
      await action();
      focusMade();
    } catch (error) {
      this.refused[what] = error;
    }
    await this.refresh();
  }

  render() {
    return [
      h("div", { class: "page-head", key: "head" }, h("h1", null, "Access")),
      this.you(),
      problemBox(this.problem),
      may("admin") ? [this.tokensCard(), this.webhooksCard()] : null,
    ];
  }

  you() {
    const me = whoAsks();
    if (!me) return h("p", { class: "muted", key: "asking" }, "Asking the coordinator…");
    const asked = this.app.store.status?.token_required;
    return card(
      "You",
      asked
        ? h(
            "button",
            { type: "button", onclick: () => this.app.leave() },
            icon("key"),
            "Use another token",
          )
        : null,
      facts([
        ["Token", me.name === "coordinator" && !me.token_id ? "the coordinator's own" : me.name],
        ["Scope", asked ? me.scope : null],
        ["Opens", OPENS[me.scope]],
      ]),
      asked
        ? may("admin")
          ? null
          : h(
              "p",
              { class: "muted" },
              "Whoever has the coordinator's own token makes others: ",
              h("code", null, "ffcluster tokens add NAME --scope client"),
            )
        : h(
            "p",
            { class: "muted" },
            "This coordinator asks nobody for a token: whoever reaches it may do all.",
          ),
    );
  }

  // --- tokens ----------------------------------------------------------------------------------

  tokensCard() {
    const { status } = this.app.store;
    if (status && !status.token_required)
      return card(
        "Tokens",
        null,
        h("p", null, "Nobody is asked for one. To change that, make the coordinator's own:"),
        command("ffcluster token --output ffcluster.token"),
        h("p", null, "Then start it again with:"),
        command("--token-file=ffcluster.token"),
      );
    return card(
      "Tokens",
      null,
      this.made
        ? madeToken(this.made, this.use(this.made.token.scope), () => {
            this.made = null;
            this.app.draw();
          })
        : this.tokenForm(),
      problemBox(this.refused.tokens),
      this.tokens?.length
        ? table(
            "Tokens",
            ["Name", "Scope", "State", "Made"],
            this.tokens.map((token) => [
              h("span", { class: "wrap" }, token.name),
              token.scope,
              token.revoked_at ? `revoked ${clock(token.revoked_at)}` : this.revoking(token),
              h("span", { class: "nowrap" }, clock(token.created_at)),
            ]),
          )
        : h(
            "p",
            { class: "muted" },
            this.tokens ? "No token was given out yet." : "Asking the coordinator…",
          ),
    );
  }

  /** What the new token's owner runs. @param {string} scope */
  use(scope) {
    if (scope === "worker") return workerCommand(this.app.store.status);
    const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
    return `ffcluster ${scope === "client" ? "submit INPUT" : "jobs"} --coordinator ${url} --token-file FILE`;
  }

  tokenForm() {
    const { token } = this;
    return h(
      "form",
      {
        class: "inline-form",
        key: "token-form",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.make("tokens", async () => {
            this.made = await makeToken(token.name, token.scope);
            token.name = "";
          });
        },
      },
      h(
        "label",
        null,
        "Name",
        h("input", {
          value: token.name,
          required: true,
          maxlength: 64,
          autocomplete: "off",
          spellcheck: "false",
          placeholder: "attic",
          oninput: (/** @type {any} */ event) => (token.name = event.target.value),
        }),
      ),
      h(
        "label",
        { class: "grow" },
        "Scope",
        h(
          "select",
          {
            value: token.scope,
            onchange: (/** @type {any} */ event) => (token.scope = event.target.value),
          },
          GIVEN_OUT.map((scope) => h("option", { value: scope }, `${scope}: ${OPENS[scope]}`)),
        ),
      ),
      h("button", { type: "submit", class: "primary" }, icon("key"), "Make a token"),
    );
  }

  /** @param {any} token */
  revoking(token) {
    const revoke = async () => {
      const sure = await confirm(
        `Revoke the token of ${token.name}?`,
        "It opens nothing any more, and what was begun with it ends at once. Jobs that were submitted with it go on.",
        "Revoke the token",
      );
      if (sure)
        this.change(
          () => change("DELETE", `/tokens/${encodeURIComponent(token.id)}`),
          `The token of ${token.name} is revoked.`,
        );
    };
    return h(
      "button",
      { type: "button", "aria-label": `Revoke ${token.name}`, onclick: revoke },
      "Revoke",
    );
  }

  // --- webhooks --------------------------------------------------------------------------------

  webhooksCard() {
    return card(
      "Webhooks",
      null,
      h("p", { class: "muted" }, "URLs that are told of events of all jobs, each signed."),
      this.signed
        ? h(
            "div",
            {
              class: "made",
              id: "made",
              key: this.signed.webhook.id,
              tabindex: "-1",
              role: "group",
              "aria-label": "The new secret",
            },
            h(
              "p",
              null,
              "What is told is signed with this secret. It is shown this once; the receiver needs it:",
            ),
            command(this.signed.secret),
            h(
              "div",
              { class: "row" },
              h(
                "button",
                {
                  type: "button",
                  onclick: () => {
                    this.signed = null;
                    this.app.draw();
                  },
                },
                icon("done"),
                "It is in its place",
              ),
            ),
          )
        : this.webhookForm(),
      problemBox(this.refused.webhooks),
      this.webhooks?.length
        ? h(
            "ul",
            { class: "findings" },
            this.webhooks.map((webhook) => this.webhookRow(webhook)),
          )
        : h("p", { class: "muted" }, this.webhooks ? "None yet." : "Asking the coordinator…"),
    );
  }

  webhookForm() {
    const { webhook } = this;
    return h(
      "form",
      {
        class: "inline-form",
        key: "webhook-form",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          const kinds = webhook.kinds.split(/[\s,]+/).filter(Boolean);
          this.make("webhooks", async () => {
            this.signed = await change("POST", "/webhooks", { url: webhook.url.trim(), kinds });
            webhook.url = "";
          });
        },
      },
      h(
        "label",
        { class: "grow" },
        "URL",
        h("input", {
          type: "url",
          value: webhook.url,
          required: true,
          autocomplete: "off",
          oninput: (/** @type {any} */ event) => (webhook.url = event.target.value),
        }),
      ),
      h(
        "label",
        { class: "grow" },
        "Kinds of events; * is every one",
        h("input", {
          value: webhook.kinds,
          required: true,
          autocomplete: "off",
          spellcheck: "false",
          oninput: (/** @type {any} */ event) => (webhook.kinds = event.target.value),
        }),
      ),
      h("button", { type: "submit" }, icon("plus"), "Add a webhook"),
    );
  }

  /** @param {any} webhook */
  webhookRow(webhook) {
    const remove = async () => {
      const sure = await confirm(
        `Remove the webhook ${webhook.url}?`,
        "It is told nothing more, what waits for it included.",
        "Remove the webhook",
      );
      if (sure)
        this.change(
          () => change("DELETE", `/webhooks/${encodeURIComponent(webhook.id)}`),
          "The webhook is removed.",
        );
    };
    const look = (/** @type {any} */ event) =>
      event.target.open &&
      attempt(async () => {
        const path = `/webhooks/${encodeURIComponent(webhook.id)}/deliveries`;
        this.deliveries.set(webhook.id, (await get(path, { limit: DELIVERIES_SHOWN })).items);
        this.app.draw();
      });
    return h(
      "li",
      { class: "webhook", key: webhook.id },
      h(
        "div",
        { class: "row spread" },
        h("strong", { class: "wrap" }, webhook.url),
        h(
          "button",
          { type: "button", "aria-label": `Remove ${webhook.url}`, onclick: remove },
          "Remove",
        ),
      ),
      h(
        "p",
        { class: "muted" },
        webhook.disabled ? badge(`Off: ${webhook.disabled}`, "failed", "bad") : null,
        ` ${webhook.kinds.join(", ")} · since ${clock(webhook.created_at)} · ${plural(webhook.waiting, "event")} waiting`,
      ),
      h(
        "details",
        { ontoggle: look },
        h("summary", null, "What it was told lately"),
        this.told(webhook.id),
      ),
    );
  }

  /** @param {string} id */
  told(id) {
    const all = this.deliveries.get(id);
    if (!all?.length)
      return h("p", { class: "muted" }, all ? "Nothing yet." : "Asking the coordinator…");
    return table(
      "Deliveries, the latest first",
      ["Event", "When", "State", "Tries", "Answer"],
      all.map((one) => [
        one.kind,
        clock(one.at),
        one.state.replace("_", " "),
        String(one.tries),
        one.error || (one.status ? String(one.status) : "–"),
      ]),
    );
  }
}
