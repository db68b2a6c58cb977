// Making and finding elements. Texts are only ever set as texts: a port's name is no HTML.

export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Sets a text, and leaves the page alone where it is the same: selections and screen readers notice changes. */
export function setText(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** A table of numbers whose rows are made once and then filled in. */
export class NumberTable {
  readonly table: HTMLTableElement;
  private readonly body = element("tbody");
  private readonly columns: readonly Column[];

  constructor(caption: string, columns: readonly Column[]) {
    this.columns = columns;
    const heads = columns.map(({ title, wide }) =>
      element("th", { scope: "col", ...(wide ? { class: "wide" } : {}) }, title),
    );
    const head = element("thead", {}, element("tr", {}, ...heads));
    this.table = element("table", { class: "numbers", "aria-label": caption }, head, this.body);
  }

  /** One text for each column; the first is the row's head. */
  fill(rows: readonly (readonly string[])[]): void {
    while (this.body.rows.length > rows.length) this.body.deleteRow(-1);
    rows.forEach((texts, k) => {
      const row = this.body.rows[k] ?? this.body.appendChild(this.row());
      texts.forEach((text, column) => {
        setText(row.cells[column]!, text);
      });
    });
  }

  private row(): HTMLTableRowElement {
    const cells = this.columns.map(({ wide }, k) => {
      const attributes = wide ? { class: "wide" } : undefined;
      return k === 0 ? element("th", { scope: "row", ...attributes }) : element("td", attributes);
    });
    return element("tr", {}, ...cells);
  }
}

export interface Column {
  readonly title: string;
  /** Left out on narrow screens. */
  readonly wide?: boolean;
}
