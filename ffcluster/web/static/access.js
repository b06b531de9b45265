/** Who asks, and what that token opens: the page offers nothing that would be refused. */

import { get } from "./api.js";
import { h } from "./dom.js";
import { icon } from "./words.js";

/** @typedef {{name: string, scope: string, scopes: string[], token_id: string}} Me */

/** @type {Me | null} */
let me = null;

/** Null until the coordinator said it. */
export const whoAsks = () => me;

export async function fetchMe() {
  me = await get("/me");
}

export function forgetMe() {
  me = null;
}

/** @param {string} scope */
export const may = (scope) => Boolean(me?.scopes.includes(scope));

/**
 * Why something is not offered; null where it is, and while nobody knows.
 * @param {string} scope
 * @param {string} what for example "Steering jobs"
 */
export function lacking(scope, what) {
  if (!me || may(scope)) return null;
  return h(
    "p",
    { class: "lacking", key: "lacking" },
    icon("look"),
    h(
      "span",
      null,
      `${what} takes a token of scope ${scope}; yours has the scope `,
      h("a", { href: "#/access" }, me.scope),
      ".",
    ),
  );
}
