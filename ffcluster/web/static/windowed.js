/**
 * A table of which only the rows in view exist, fetched page by page while it is scrolled.
 *
 * All rows have the same height. Screen readers hear of every row that was fetched.
 */

import { h, render } from "./dom.js";

const SPARE = 6;

/**
 * @typedef {{name: string, cell: (item: any) => any, wide?: boolean}} Column `wide`: left out on phones
 * @typedef {{items: any[], next_cursor: string | null}} Page
 */

export class Windowed {
  /**
   * @param {{label: string, columns: Column[], key: (item: any) => string | number,
   *   rowHeight: number, page: (cursor: string | null) => Promise<Page>, name: string}} settings
   */
  constructor(settings) {
    this.settings = settings;
    /** @type {any[]} */
    this.items = [];
    /** @type {string | null} */
    this.cursor = null;
    this.ended = false;
    this.loading = false;
    this.generation = 0;
    this.failed = "";
    this.head = h("div", { role: "rowgroup", class: "w-head" }, this.row(null, 1));
    this.body = h("div", { role: "rowgroup", class: "w-body" });
    this.element = h(
      "div",
      {
        role: "table",
        "aria-label": settings.label,
        tabindex: "0",
        class: `windowed ${settings.name}`,
        onscroll: () => this.draw(),
      },
      this.head,
      this.body,
    );
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.element);
  }

  close() {
    this.generation += 1;
    this.resized.disconnect();
  }

  /** Fetch again from the beginning as much as was there. */
  async refresh() {
    const generation = (this.generation += 1);
    const wanted = Math.max(1, this.items.length);
    /** @type {any[]} */
    const items = [];
    /** @type {string | null} */
    let cursor = null;
    this.loading = true;
    this.failed = "";
    try {
      do {
        const page = await this.settings.page(cursor);
        if (generation !== this.generation) return;
        items.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor && items.length < wanted);
      [this.items, this.cursor, this.ended] = [items, cursor, cursor === null];
    } catch (error) {
      if (generation === this.generation) this.failed = /** @type {Error} */ (error).message;
    } finally {
      if (generation === this.generation) this.loading = false;
    }
    this.draw();
  }

  async more() {
    if (this.loading || this.ended || this.failed) return;
    const generation = this.generation;
    this.loading = true;
    try {
      const page = await this.settings.page(this.cursor);
      if (generation !== this.generation) return;
      this.items.push(...page.items);
      [this.cursor, this.ended] = [page.next_cursor, page.next_cursor === null];
    } catch (error) {
      if (generation === this.generation) this.failed = /** @type {Error} */ (error).message;
    } finally {
      if (generation === this.generation) this.loading = false;
    }
    this.draw();
  }

  draw() {
    const { rowHeight, key } = this.settings;
    const shown = this.element.clientHeight || 400;
    const first = Math.max(0, Math.floor(this.element.scrollTop / rowHeight) - SPARE);
    const stop = Math.min(this.items.length, first + Math.ceil(shown / rowHeight) + 2 * SPARE);
    this.body.style.setProperty("height", `${this.items.length * rowHeight}px`);
    const rows = [];
    for (let i = first; i < stop; i += 1) {
      rows.push(
        this.row(this.items[i], i + 2, {
          key: key(this.items[i]),
          style: { top: `${i * rowHeight}px` },
        }),
      );
    }
    render(this.body, rows);
    this.element.setAttribute("aria-rowcount", String(this.ended ? this.items.length + 1 : -1));
    if (!this.ended && stop >= this.items.length - SPARE && this.items.length) this.more();
  }

  /**
   * @param {any} item null: the head
   * @param {number} index
   * @param {import("./dom.js").Props} [props]
   */
  row(item, index, props = {}) {
    const cells = this.settings.columns.map((column) =>
      h(
        "div",
        { role: item ? "cell" : "columnheader", class: column.wide ? "w-cell wide" : "w-cell" },
        item ? column.cell(item) : column.name,
      ),
    );
    return h("div", { role: "row", class: "w-row", "aria-rowindex": index, ...props }, cells);
  }
}
