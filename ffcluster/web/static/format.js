/** Figures as people read them. Every function takes what the API gives, null included. */

const NUMBER = new Intl.NumberFormat("en");
const NONE = "–";
/** @type {[string, number, number, number][]} unit, its seconds, digits, up to how many seconds */
const ETA_UNITS = [
  ["s", 1, 0, 150],
  ["min", 60, 0, 9000],
  ["h", 3600, 1, Infinity],
];

/** @param {number | null | undefined} value */
export const count = (value) =>
  value === null || value === undefined ? NONE : NUMBER.format(Math.round(value));

/** @param {number} number @param {string} noun */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let size = value;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 99.5 ? Math.round(size) : size.toPrecision(2)} ${units[unit]}`;
}

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** Position in a film, as 1:02:03.4. @param {number} seconds */
export function timecode(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const [s, m, hours] = [
    Math.floor(tenths / 10) % 60,
    Math.floor(tenths / 600) % 60,
    Math.floor(tenths / 36000),
  ];
  const tail = `${hours ? String(m).padStart(2, "0") : m}:${String(s).padStart(2, "0")}`;
  return `${hours ? `${hours}:` : ""}${tail}${tenths % 10 ? `.${tenths % 10}` : ""}`;
}

/** @param {number | null | undefined} value */
export function fps(value) {
  if (value === null || value === undefined) return NONE;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

/** @param {number | null | undefined} value */
export const speed = (value) =>
  value ? `${value < 9.95 ? value.toFixed(1) : Math.round(value)}×` : NONE;

/** Never 100 before it is all. @param {number} part @param {number | null | undefined} whole */
export const percent = (part, whole) =>
  whole ? Math.min(100, Math.floor((100 * part) / whole)) : 0;

/** "12 min (10 – 15 min)": all three in the unit that the longest is told in. @param {any} job */
export function eta(job) {
  const { eta_s: middle, eta_low_s: low, eta_high_s: high } = job;
  if (middle === null || middle === undefined) return NONE;
  if (low === null || low === undefined || high === null || high === undefined)
    return duration(middle);
  const [unit, seconds, digits] = ETA_UNITS.find(([, , , most]) => high < most) ?? ETA_UNITS[2];
  const told = (/** @type {number} */ value) => (value / seconds).toFixed(digits);
  const range = told(low) === told(high) ? "" : ` (${told(low)} – ${told(high)} ${unit})`;
  return `${told(middle)} ${unit}${range}`;
}

/** What the file is called, or is to be called until it is published. @param {any} job */
export const outputName = (job) => job.outcome?.path.split("/").pop() ?? job.output_name;

/** Time of day, with the date when it is not today's. @param {string | null | undefined} at */
export function clock(at) {
  if (!at) return NONE;
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
  return today ? time : `${date.toLocaleDateString()} ${time}`;
}

/** "12 s ago". @param {string | null | undefined} at @param {number} now milliseconds */
export function ago(at, now) {
  if (!at) return NONE;
  const seconds = (now - Date.parse(at)) / 1000;
  return seconds < 2 ? "now" : `${duration(Math.round(seconds))} ago`;
}
