/**
 * Talks to the coordinator: JSON, problems as errors with sentences, files, uploads.
 *
 * The token is kept in sessionStorage, so it is gone with the tab.
 */

const BASE = "/api/v1";
const TOKEN = "ffcluster.token";

/** What the coordinator (or the way to it) says was wrong. */
export class Problem extends Error {
  /** @param {any} body the members of problem+json @param {number} status */
  constructor(body, status) {
    super(body.detail || body.title || `The coordinator answered ${status}.`);
    this.status = status;
    this.code = body.code ?? "";
    this.advice = body.advice ?? "";
    /** @type {{pointer: string, detail: string}[]} */
    this.errors = body.errors ?? [];
  }
}

let unauthorized = () => {};

/** @param {() => void} callback called when the coordinator wants another token */
export const whenUnauthorized = (callback) => (unauthorized = callback);

export const hasToken = () => Boolean(sessionStorage.getItem(TOKEN));

/** @param {string} token "" forgets it */
export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

/** @param {Record<string, string>} [more] @returns {Record<string, string>} */
export function headers(more = {}) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** @param {Record<string, any>} values those that are null or "" are left out */
export function query(values) {
  const kept = Object.entries(values).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}

/** @param {Response} response @returns {Promise<Problem>} */
export async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) unauthorized();
  return new Problem(body, response.status);
}

/** @param {string} url @param {RequestInit} options @returns {Promise<Response>} */
async function send(url, options) {
  let response;
  try {
    response = await fetch(url, { cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(
      {
        detail: "The coordinator does not answer.",
        advice: "Is it running? The page tries again by itself.",
        code: "unreachable",
      },
      0,
    );
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/**
 * @param {string} path
 * @param {Record<string, any>} [values]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, values = {}, signal = undefined) {
  const response = await send(BASE + path + query(values), { headers: headers(), signal });
  return response.json();
}

/**
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {Record<string, string>} [more] further headers
 * @returns {Promise<any>} null when there is nothing to read
 */
export async function change(method, path, body = {}, more = {}) {
  const json = method === "DELETE" ? undefined : JSON.stringify(body);
  const type = { "Content-Type": "application/json" };
  const response = await send(BASE + path, {
    method,
    headers: headers({ ...type, ...more }),
    body: json,
  });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * A picture, ready to be drawn.
 * @param {string} path
 * @param {Record<string, any>} values
 * @param {AbortSignal} [signal]
 */
export async function picture(path, values, signal = undefined) {
  const response = await send(BASE + path + query(values), {
    headers: headers(),
    signal,
    cache: "default",
  });
  return createImageBitmap(await response.blob());
}

/**
 * Whether there is a file to fetch at `path`; what is wrong with it is thrown as a `Problem`.
 * @param {string} path
 */
export async function there(path) {
  // A browser that follows a link to a missing file leaves the page, or says nothing.
  const response = await send(BASE + path, { headers: headers({ Range: "bytes=0-0" }) });
  await response.arrayBuffer();
}

/**
 * An address that works without the token for some minutes.
 * @param {string} path
 * @param {Record<string, any>} [values]
 * @returns {Promise<string>}
 */
export async function ticket(path, values = {}) {
  const link = await change("POST", "/links", { path: BASE + path + query(values) });
  return link.url;
}

/**
 * Upload a file in blocks; a block that is lost on the way is sent again.
 * @param {File} file
 * @param {{size_bytes?: number, path: string, block_bytes: number}} place from `POST /uploads`
 * @param {(sent: number) => void} progress
 * @param {AbortSignal} signal
 */
export async function upload(file, place, progress, signal) {
  let offset = 0;
  let failures = 0;
  while (offset < file.size) {
    const stop = Math.min(file.size, offset + place.block_bytes);
    const range = `bytes ${offset}-${stop - 1}/${file.size}`;
    const options = {
      method: "PUT",
      headers: headers({ "Content-Range": range, "Content-Type": "application/octet-stream" }),
      body: file.slice(offset, stop),
      signal,
    };
    try {
      await send(place.path, options);
      offset = stop;
      failures = 0;
    } catch (error) {
      failures += 1;
      if (
        signal.aborted ||
        failures > 5 ||
        (error instanceof Problem && error.status >= 400 && error.status < 500)
      )
        throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** failures));
      offset = await offsetOf(place.path, signal, offset);
    }
    progress(offset);
  }
}

/**
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {number} fallback
 * @returns {Promise<number>}
 */
async function offsetOf(path, signal, fallback) {
  try {
    const response = await send(path, { method: "HEAD", headers: headers(), signal });
    return Number(response.headers.get("Upload-Offset") ?? fallback);
  } catch {
    return fallback;
  }
}
