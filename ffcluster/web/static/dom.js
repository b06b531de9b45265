/**
 * Elements, and bringing a part of the page up to date without rebuilding it.
 *
 * A view says what its part should look like now, as a fresh tree of `h()`; `render()` changes
 * what is on the page into that, in place, so that focus, selection and scrolling stay.
 */

/**
 * @typedef {Node | Lazy | string | number | null | undefined | false | any[]} Child nested lists are fine
 */
/** @typedef {Record<string, any>} Props */

const SVG = new Set(["svg", "path"]);
// What a person changes is theirs: these are set again only when the view wants another value.
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "selected"]);

/**
 * Make an element.
 *
 * `key` tells children of one parent apart, `keep` puts a lasting element (a canvas) inside, `style`
 * is an object; `onclick` and the like are functions; the rest are attributes.
 * @param {string} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {any}
 */
export function h(tag, props, ...children) {
  /** @type {any} */
  const element = SVG.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  element._props = {};
  append(element, children);
  setProps(element, props ?? {});
  return element;
}

/** A child that is made only when something of what it shows is another than last time. */
class Lazy {
  /** @param {string} key @param {any[]} inputs @param {() => any} make */
  constructor(key, inputs, make) {
    this.key = key;
    this.inputs = inputs;
    this.make = make;
  }

  /** The element, which remembers what it was made from. */
  made() {
    const element = this.make();
    element._inputs = this.inputs;
    return element;
  }
}

/**
 * A large part of the page that stays as it is while `inputs` are the very same.
 * @param {string} key that of the element
 * @param {any[]} inputs everything that it shows
 * @param {() => any} make gives the element
 */
export const lazy = (key, inputs, make) => new Lazy(key, inputs, make);

/**
 * Make the children of `parent` look like `children`.
 * @param {Element} parent
 * @param {...Child} children
 */
export function render(parent, ...children) {
  patchChildren(parent, flat(children));
}

/** @param {Element} parent @param {Child[]} children */
function append(parent, children) {
  for (const child of flat(children)) parent.append(child instanceof Lazy ? child.made() : child);
}

/** @param {Child[]} children @returns {any[]} */
function flat(children) {
  /** @type {any[]} */
  const nodes = [];
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    const whole = child instanceof Node || child instanceof Lazy;
    nodes.push(whole ? child : document.createTextNode(String(child)));
  }
  return nodes;
}

/** @param {any} element @param {Props} props */
function setProps(element, props) {
  const before = element._props;
  for (const name of Object.keys(before))
    if (!(name in props)) setProp(element, name, null, before[name]);
  for (const [name, value] of Object.entries(props)) {
    if (value !== before[name] || name === "style") setProp(element, name, value, before[name]);
  }
  element._props = props;
}

/** @param {any} element @param {string} name @param {any} value @param {any} [before] */
function setProp(element, name, value, before) {
  if (name === "key") return;
  if (name === "keep") {
    element.toggleAttribute("data-keep", Boolean(value));
  } else if (name === "style") {
    for (const key of Object.keys(before ?? {}))
      if (!value || !(key in value)) element.style.removeProperty(key);
    for (const [key, wanted] of Object.entries(value ?? {})) element.style.setProperty(key, wanted);
  } else if (name.startsWith("on")) {
    element[name] = value;
  } else if (PROPERTIES.has(name)) {
    element[name] = value ?? (name === "value" ? "" : false);
  } else if (value === null || value === undefined || value === false) {
    element.removeAttribute(name);
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** @param {any} node */
const keyOf = (node) => node._props?.key ?? null;

/** @param {any} a @param {any} b */
const alike = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

/** @param {any} old @param {Lazy} wanted */
const isSame = (old, wanted) =>
  old?._inputs?.length === wanted.inputs.length &&
  wanted.inputs.every((input, at) => input === old._inputs[at]);

/** @param {Element} parent @param {any[]} fresh */
function patchChildren(parent, fresh) {
  const keyed = new Map();
  for (const child of parent.childNodes) if (keyOf(child) !== null) keyed.set(keyOf(child), child);
  /** @type {any} */
  let here = parent.firstChild;
  for (const wanted of fresh) {
    if (wanted instanceof Lazy && isSame(keyed.get(wanted.key), wanted)) {
      const old = keyed.get(wanted.key);
      if (old === here) here = here.nextSibling;
      else parent.insertBefore(old, here);
      continue;
    }
    const node = wanted instanceof Lazy ? wanted.made() : wanted;
    const key = keyOf(node);
    const old = key === null ? here : keyed.get(key);
    if (!old || !alike(old, node)) {
      parent.insertBefore(node, here);
      mount(node);
      continue;
    }
    if (old === here) here = here.nextSibling;
    else parent.insertBefore(old, here);
    patchNode(old, node);
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

/** @param {any} old @param {any} node */
function patchNode(old, node) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== node.data) old.data = node.data;
    return;
  }
  old._inputs = node._inputs;
  const kept = node._props.keep;
  if (!kept) patchChildren(old, [...node.childNodes]);
  setProps(old, node._props);
  if (kept && old.firstChild !== kept) old.replaceChildren(kept);
}

/** Put lasting elements where they belong, now that the place is on the page. @param {any} node */
function mount(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return;
  for (const place of [node, ...node.querySelectorAll("[data-keep]")]) {
    if (place._props?.keep) place.replaceChildren(place._props.keep);
  }
}
