/** Asks for the coordinator's token; it is kept for this tab only. */

import { get, hasToken, setToken } from "./api.js";
import { h } from "./dom.js";
import { problemBox } from "./notices.js";

export class TokenView {
  /** @param {import("./main.js").App} app @param {() => void} entered */
  constructor(app, entered) {
    this.app = app;
    this.entered = entered;
    this.title = "Token";
    this.token = "";
    /** @type {any} */
    this.problem = hasToken()
      ? {
          message: "The coordinator does not know this token.",
          advice: "It may have been revoked.",
        }
      : null;
  }

  close() {}
  async refresh() {}
  take() {}

  async enter() {
    setToken(this.token.trim());
    try {
      await get("/status");
      this.entered();
    } catch (error) {
      if (/** @type {any} */ (error).status === 401)
        this.problem = {
          message: "The coordinator does not know this token.",
          advice:
            "Look at the file that it was started with (--token-file), or ask whoever runs it.",
        };
      else this.problem = error;
      setToken("");
      this.app.draw();
    }
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
        "It is what its workers and clients show too. The page keeps it until this tab is closed.",
      ),
      problemBox(this.problem),
      h(
        "label",
        null,
        "Token",
        h("input", {
          type: "password",
          required: true,
          autocomplete: "off",
          spellcheck: "false",
          autofocus: true,
          oninput: (/** @type {any} */ event) => (this.token = event.target.value),
        }),
      ),
      h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Go on")),
    );
  }
}
