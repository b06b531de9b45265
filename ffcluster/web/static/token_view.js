/** Asks for the coordinator's token; it is kept for this tab only. */

import { get, hasToken, setToken } from "./api.js";
import { h } from "./dom.js";
import { problemBox } from "./notices.js";

const UNKNOWN = "The coordinator does not know this token.";
// What a header can carry, and what every token is made of.
const PRINTABLE = /^[!-~]+$/;

export class TokenView {
  /** @param {import("./main.js").App} app @param {() => void} entered */
  constructor(app, entered) {
    this.app = app;
    this.entered = entered;
    this.title = "Token";
    this.token = "";
    this.shown = false;
    this.asking = false;
    /** @type {any} */
    this.problem = hasToken()
      ? { message: UNKNOWN, advice: "It was revoked, or the coordinator was given another one." }
      : null;
    // Whoever works with a keyboard was somewhere on the screen that is gone.
    requestAnimationFrame(() => requestAnimationFrame(() => this.focus()));
  }

  close() {}
  async refresh() {}
  take() {}

  focus() {
    document.getElementById("token")?.focus();
  }

  async enter() {
    const token = this.token.trim();
    this.asking = true;
    this.app.draw();
    this.problem = PRINTABLE.test(token)
      ? await refusal(token)
      : {
          message: "This is no token: it has spaces or letters that tokens do not have.",
          advice: "Copy the whole line of the file, and nothing else.",
        };
    this.asking = false;
    if (!this.problem) return this.entered();
    setToken("");
    this.app.draw();
    this.focus();
  }

  render() {
    return h(
      "form",
      {
        class: "card narrow",
        key: "token",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          this.enter();
        },
      },
      h("h1", null, "This coordinator wants a token"),
      h(
        "p",
        null,
        "It says what you may do: see, or submit and steer. The page keeps it until this tab is closed.",
      ),
      h("div", { id: "token-problem" }, problemBox(this.problem)),
      h(
        "label",
        null,
        "Token",
        h("input", {
          id: "token",
          type: this.shown ? "text" : "password",
          required: true,
          autocomplete: "off",
          autocapitalize: "off",
          spellcheck: "false",
          "aria-describedby": "token-problem",
          "aria-invalid": this.problem ? "true" : null,
          oninput: (/** @type {any} */ event) => (this.token = event.target.value),
        }),
      ),
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: this.shown,
          onchange: (/** @type {any} */ event) => {
            this.shown = event.target.checked;
            this.app.draw();
          },
        }),
        "Show it",
      ),
      h(
        "div",
        { class: "row" },
        h("button", { type: "submit", class: "primary", disabled: this.asking }, "Go on"),
      ),
      h(
        "details",
        null,
        h("summary", null, "Where is it?"),
        h(
          "p",
          null,
          "The coordinator's own token, which opens everything, is in the file that it was started with (",
          h("code", null, "--token-file"),
          "). Whoever has that makes others: ",
          h("code", null, "ffcluster tokens add NAME --scope client"),
          " to submit and steer, ",
          h("code", null, "--scope viewer"),
          " to look.",
        ),
      ),
    );
  }
}

/** Why the coordinator does not let this token in; null when it does. @param {string} token */
async function refusal(token) {
  setToken(token);
  try {
    await get("/me");
    return null;
  } catch (error) {
    const problem = /** @type {any} */ (error);
    if (problem.status !== 401) return problem;
    return {
      message: UNKNOWN,
      advice:
        "Look whether all of it was copied. If it was, it was revoked, or it is another coordinator's.",
    };
  }
}
