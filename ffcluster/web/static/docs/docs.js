/** Shows the OpenAPI document of this coordinator: every operation, parameter, body and answer. */

const TOKEN = "ffcluster.token";

/** @param {string} id @returns {any} */
const one = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {Record<string, any>} props
 * @param {...(Node | string | null)} children
 */
function element(tag, props = {}, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** What a schema allows, in a word or two. @param {any} schema @returns {string} */
function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.enum)
    return schema.enum.map((/** @type {any} */ value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(kind).join(" | ");
  if (schema.prefixItems) return `[${schema.prefixItems.map(kind).join(", ")}]`;
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  if (schema.type === "object" && schema.additionalProperties)
    return `object of ${kind(schema.additionalProperties)}`;
  return [schema.type ?? "anything"].flat().join(" | ");
}

/** @param {any} schema @returns {string} */
function bounds(schema) {
  const names = [
    "minimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "maxItems",
    "pattern",
  ];
  const said = names.filter((name) => name in schema).map((name) => `${name} ${schema[name]}`);
  if ("default" in schema) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.join(", ");
}

/** @param {string[]} heads @param {string[][]} rows */
function table(heads, rows) {
  const cells = (/** @type {string} */ tag, /** @type {string[]} */ texts) =>
    element(
      "tr",
      {},
      ...texts.map((text, at) =>
        element(tag, {}, tag === "td" && at === 0 ? element("code", {}, text) : text),
      ),
    );
  return element(
    "table",
    {},
    element("thead", {}, cells("th", heads)),
    element("tbody", {}, ...rows.map((row) => cells("td", row))),
  );
}

/** @param {any} schema of an object */
function members(schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, own]) => {
    const needed = schema.required?.includes(name) ? "" : "optional. ";
    return [name, kind(own), `${needed}${own.description ?? ""} ${bounds(own)}`.trim()];
  });
  return rows.length
    ? table(["Member", "Type", "Meaning"], rows)
    : element("p", { className: "muted" }, "No members.");
}

/** @param {any} content */
function media(content) {
  return Object.entries(content ?? {}).map(([type, own]) => {
    const name = kind(own.schema);
    return element(
      "p",
      {},
      element("code", {}, type),
      " ",
      own.schema?.$ref ? element("a", { href: `#schema-${name}` }, name) : name,
    );
  });
}

/** @param {string} path @param {string} method @param {any} own */
function operation(path, method, own) {
  const parameters = (own.parameters ?? []).map((/** @type {any} */ each) => [
    each.name,
    `${each.in}, ${kind(each.schema)}`,
    `${each.description ?? ""} ${bounds(each.schema)}`.trim(),
  ]);
  const answers = Object.entries(own.responses).map(([status, each]) => [
    status,
    Object.keys(each.content ?? {}).join(", "),
    each.description,
  ]);
  const success = Object.values(own.responses)[0];
  return element(
    "details",
    { id: own.operationId },
    element(
      "summary",
      {},
      element("span", { className: `method ${method}` }, method.toUpperCase()),
      element("code", {}, path),
      ` ${own.summary}`,
    ),
    element(
      "div",
      { className: "body" },
      element("p", { className: "muted" }, own.description),
      parameters.length ? element("h3", {}, "Parameters") : null,
      parameters.length ? table(["Name", "Where and what", "Meaning"], parameters) : null,
      own.requestBody ? element("h3", {}, "Body") : null,
      ...media(own.requestBody?.content),
      element("h3", {}, "Answer"),
      ...media(success.content),
      table(["Status", "Type", "Meaning"], answers),
    ),
  );
}

/** @param {any} api */
function show(api) {
  const main = one("main");
  const base = api.servers[0].url;
  const groups = api.tags.map((/** @type {{name: string}} */ tag) => {
    const own = [];
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, each] of Object.entries(methods))
        if (each.tags[0] === tag.name) own.push(operation(base + path, method, each));
    }
    return element("section", {}, element("h2", {}, tag.name), ...own);
  });
  const schemas = Object.entries(api.components.schemas).map(([name, schema]) =>
    element(
      "details",
      { id: `schema-${name}` },
      element("summary", {}, element("code", {}, name), ` ${schema.description ?? ""}`),
      element("div", { className: "body" }, members(schema)),
    ),
  );
  main.replaceChildren(
    element("p", {}, `Version ${api.info.version}. ${api.info.description}`),
    ...groups,
    element("section", {}, element("h2", {}, "Schemas"), ...schemas),
  );
  reveal();
}

/** Open what the address names. */
function reveal() {
  const named = /** @type {any} */ (document.getElementById(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
}

function find() {
  const wanted = one("find").value.toLowerCase();
  for (const each of document.querySelectorAll("details"))
    /** @type {any} */ (each).hidden = !each.textContent?.toLowerCase().includes(wanted);
}

/** @param {number} status @param {boolean} shown whether a token was */
function refusal(status, shown) {
  if (status === 401)
    return shown ? "The coordinator does not know this token." : "This coordinator wants a token.";
  if (status === 403)
    return "This takes a token of scope viewer, client or admin; this one has another.";
  return `The coordinator answered ${status}.`;
}

async function load() {
  const token = sessionStorage.getItem(TOKEN);
  const answer = await fetch("/api/v1/openapi.json", {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
  });
  one("access").hidden = answer.ok;
  if (answer.ok) return show(await answer.json());
  if (answer.status === 401 || answer.status === 403) sessionStorage.removeItem(TOKEN);
  one("main").replaceChildren(
    element("p", { role: "alert" }, refusal(answer.status, Boolean(token))),
  );
}

/** @param {Promise<void>} loading */
const told = (loading) =>
  loading.catch(() =>
    one("main").replaceChildren(
      element("p", { role: "alert" }, "The coordinator does not answer."),
    ),
  );

one("access").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  // No header can carry anything else, and no token has it.
  sessionStorage.setItem(TOKEN, one("token").value.replace(/[^!-~]/g, ""));
  told(load());
};
one("find").oninput = find;
addEventListener("hashchange", reveal);
told(load());
