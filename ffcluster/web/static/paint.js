/** Colours and patterns of charts, taken from the style sheet so that light and dark both work. */

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {"plain" | "stripes" | "bars" | "dots" | "cross" | "back"} Pattern */

/**
 * @type {Record<string, [string, Pattern]>} what is drawn: variable of its colour, and its pattern
 */
const LOOKS = {
  pending: ["--pending", "dots"],
  assigned: ["--assigned", "stripes"],
  checking: ["--checking", "bars"],
  committed: ["--committed", "plain"],
  missing: ["--failed", "cross"],
  live: ["--assigned", "stripes"],
  failed: ["--failed", "cross"],
  returned: ["--pending", "bars"],
  superseded: ["--pending", "back"],
  mixed: ["--size", "bars"],
};

/** @type {Map<string, CanvasPattern | string>} */
const fills = new Map();
let font = "";
/** @type {Map<string, string>} */
const colors = new Map();
const redraws = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  fills.clear();
  colors.clear();
  for (const redraw of redraws) redraw();
});

/** @param {string} name of a custom property @returns {string} */
export function color(name) {
  const known = colors.get(name);
  if (known) return known;
  const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  colors.set(name, value);
  return value;
}

/** @param {() => void} redraw called when the colours change @returns {() => void} ends that */
export function onColors(redraw) {
  redraws.add(redraw);
  return () => redraws.delete(redraw);
}

/**
 * Colour and pattern of a state.
 * @param {Context} context
 * @param {string} name
 * @returns {CanvasPattern | string}
 */
export function fill(context, name) {
  const known = fills.get(name);
  if (known) return known;
  const [variable, pattern] = LOOKS[name] ?? LOOKS.pending;
  const made = context.createPattern(
    tile(color(variable), color("--ink-on-chart"), pattern),
    "repeat",
  );
  fills.set(name, made ?? color(variable));
  return made ?? color(variable);
}

/** @param {string} base @param {string} ink @param {Pattern} pattern */
function tile(base, ink, pattern) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 8;
  const context = /** @type {Context} */ (canvas.getContext("2d"));
  context.fillStyle = base;
  context.fillRect(0, 0, 8, 8);
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 1.6;
  context.beginPath();
  if (pattern === "dots") context.fillRect(3, 3, 2, 2);
  if (pattern === "bars") context.fillRect(3, 0, 2, 8);
  if (pattern === "stripes" || pattern === "cross")
    lines(context, [
      [-2, 2, 2, -2],
      [-2, 10, 10, -2],
      [6, 10, 10, 6],
    ]);
  if (pattern === "back" || pattern === "cross")
    lines(context, [
      [-2, 6, 2, 10],
      [-2, -2, 10, 10],
      [6, -2, 10, 2],
    ]);
  context.stroke();
  return canvas;
}

/** @param {Context} context @param {number[][]} segments */
function lines(context, segments) {
  for (const [x1, y1, x2, y2] of segments) {
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
  }
}

/** A swatch for a legend, with the pattern. @param {string} name @returns {HTMLCanvasElement} */
export function swatch(name) {
  const canvas = document.createElement("canvas");
  canvas.className = "swatch";
  canvas.width = canvas.height = 16;
  const draw = () => {
    const context = /** @type {Context} */ (canvas.getContext("2d"));
    context.fillStyle = fill(context, name);
    context.fillRect(0, 0, 16, 16);
    if (!canvas.isConnected && drawn) stop();
    drawn = true;
  };
  let drawn = false;
  const stop = onColors(draw);
  draw();
  return canvas;
}

/**
 * Make a canvas as large as it is shown, in the screen's own pixels.
 * @param {HTMLCanvasElement} canvas @param {number} width @param {number} height
 * @returns {Context} with CSS pixels as its unit
 */
export function fit(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.setProperty("height", `${height}px`);
  }
  const context = /** @type {Context} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  font ||= `11px ${getComputedStyle(document.body).fontFamily}`;
  context.font = font;
  return context;
}

/**
 * Round steps for an axis of `span` with at most `most` marks.
 * @param {number} span
 * @param {number} most
 */
export function step(span, most) {
  const rough = span / Math.max(1, most);
  for (const nice of [
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200,
  ]) {
    if (nice >= rough) return nice;
  }
  return Math.ceil(rough / 86400) * 86400;
}
