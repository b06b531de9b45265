/**
 * What happened, said in a corner and to screen readers; and questions before what cannot be undone.
 */

import { Problem } from "./api.js";
import { h } from "./dom.js";
import { icon } from "./words.js";

const SHOWN_MS = 6000;

/** Tell a screen reader. @param {string} text */
export function say(text) {
  const region = document.getElementById("said");
  if (region) region.textContent = text;
}

/** @param {string} text @param {"good" | "bad"} [tone] @param {string} [advice] */
export function notice(text, tone = "good", advice = "") {
  const place = document.getElementById("notices");
  if (!place) return;
  for (const old of place.children)
    if (old.querySelector("p")?.firstChild?.textContent === text) old.remove();
  const close = () => element.remove();
  const element = h(
    "div",
    { class: `notice ${tone}` },
    icon(tone === "good" ? "done" : "warning"),
    h("p", null, text, advice ? h("span", { class: "advice" }, ` ${advice}`) : null),
    h(
      "button",
      { type: "button", class: "bare", "aria-label": "Close this message", onclick: close },
      icon("close"),
    ),
  );
  place.append(element);
  while (place.children.length > 4) place.firstElementChild?.remove();
  // What went wrong stays until it was read.
  if (tone === "good") setTimeout(close, SHOWN_MS);
}

/** @param {unknown} error */
export function complain(error) {
  if (error instanceof Problem) {
    if (error.status !== 401) notice(error.message, "bad", error.advice);
  } else {
    console.error(error);
    notice(`The page could not do this: ${error}`, "bad");
  }
}

/**
 * Do something that may go wrong, and say so.
 * @param {() => Promise<any>} action
 * @param {string} [done] what to say then
 */
export async function attempt(action, done = "") {
  try {
    await action();
    if (done) notice(done);
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

/** @param {any} problem @returns {any} the sentences of a problem, for a form */
export function problemBox(problem) {
  if (!problem) return null;
  const errors = (problem.errors ?? []).map((/** @type {any} */ error) =>
    h("li", null, error.pointer ? h("code", null, error.pointer) : null, ` ${error.detail}`),
  );
  return h(
    "div",
    { class: "callout bad", role: "alert" },
    icon("warning"),
    h(
      "div",
      null,
      h("p", null, problem.message),
      problem.advice ? h("p", { class: "advice" }, problem.advice) : null,
      errors.length ? h("ul", null, errors) : null,
    ),
  );
}

/**
 * @param {string} question
 * @param {string} explanation
 * @param {string} verb
 * @returns {Promise<boolean>}
 */
export function confirm(question, explanation, verb) {
  return new Promise((resolve) => {
    /** @type {HTMLDialogElement} */
    const dialog = h(
      "dialog",
      { "aria-labelledby": "question" },
      h("h2", { id: "question" }, question),
      h("p", null, explanation),
      h(
        "div",
        { class: "row end" },
        h("button", { type: "button", onclick: () => dialog.close("") }, "Keep it"),
        h("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, verb),
      ),
    );
    dialog.onclose = () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}
