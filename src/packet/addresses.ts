// Addresses between numbers, bytes and text.

/** `02:00:00:00:00:07` of a number below 2^48. */
export function formatMac(mac: number): string {
  return mac
    .toString(16)
    .padStart(12, "0")
    .replace(/..(?!$)/g, "$&:");
}

/** A MAC address (`02:00:00:00:00:07`) as a number below 2^48; undefined where the text is none. */
export function parseMac(text: string): number | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return Number.parseInt(text.replaceAll(":", ""), 16);
}

/** A MAC address of 6 bytes, such as Port.mac, as a number below 2^48. */
export function macOf(bytes: Uint8Array): number {
  return bytes.subarray(0, 6).reduce((mac, byte) => mac * 256 + byte, 0);
}

/** `10.0.0.1` of a number below 2^32. */
export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

/** An IPv4 address (`10.0.0.1`) as a number below 2^32; undefined where the text is none. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split(".");
  const fits =
    parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
  return fits ? parts.reduce((address, part) => address * 256 + Number(part), 0) : undefined;
}

/** An IPv6 address of 16 bytes as RFC 5952 writes it. */
export function formatIpv6(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, k) => ((bytes[2 * k]! << 8) | bytes[2 * k + 1]!).toString(16));
  const text = words.join(":");
  // the longest run of at least two zero words, the first of equals
  const runs = [...text.matchAll(/(?<![0-9a-f])0(:0)+(?![0-9a-f])/g)];
  const [longest] = runs.sort((a, b) => b[0].length - a[0].length || a.index - b.index);
  if (!longest) return text;
  const [before, after] = [text.slice(0, longest.index), text.slice(longest.index + longest[0].length)];
  return `${before.replace(/:$/, "")}::${after.replace(/^:/, "")}`;
}
