// Elements of an XML text, which has to be well-formed: https://www.w3.org/TR/xml, without what libvirt's XML has none
// of (processing instructions, CDATA, entities, text between elements).
export interface Element {
  /** Names from the root on: `hostdev/source/address`. */
  readonly path: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** In the order in which they begin. Several roots are taken, as of a part of a document. */
export function elementsOf(xml: string): Element[] {
  const elements: Element[] = [];
  const open: string[] = [];
  const token = /<!--(?:(?!--)[\s\S])*-->|<\/([\w:-]+)>|<([\w:-]+)((?:\s+[\w:-]+='[^'<&]*')*)\s*(\/?)>|\s+/y;
  while (token.lastIndex < xml.length) {
    const at = token.lastIndex;
    const found = token.exec(xml);
    if (!found) throw new Error(`no XML: ${xml.slice(at, at + 60)}`);
    const [, closed, opened, attributes = "", isEmpty] = found;
    if (closed !== undefined && open.pop() !== closed) throw new Error(`</${closed}> closes nothing`);
    if (opened === undefined) continue;
    const pairs = [...attributes.matchAll(/([\w:-]+)='([^']*)'/g)].map(
      ([, name, value]) => [name!, value!] as const,
    );
    if (new Set(pairs.map(([name]) => name)).size < pairs.length)
      throw new Error(`an attribute twice: ${found[0]}`);
    elements.push({ path: [...open, opened].join("/"), attributes: Object.fromEntries(pairs) });
    if (!isEmpty) open.push(opened);
  }
  if (open.length > 0) throw new Error(`<${open.at(-1)}> is not closed`);
  return elements;
}
