// How testpmd writes addresses, links and numbers.
import type { LinkStatus } from "../../ethdev/driver.ts";

/** `02:00:00:00:00:01` */
export function macText(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join(":");
}

/** `10 Gbps`, `100 Mbps`, `None`. */
export function speedText({ speed }: LinkStatus): string {
  if (speed === 0) return "None";
  if (speed < 1000) return `${speed} Mbps`;
  return `${speed / 1000} Gbps`;
}

/** `Link up at 10 Gbps FDX Fixed`, `Link down`. */
export function linkText(link: LinkStatus): string {
  if (!link.up) return "Link down";
  return `Link up at ${speedText(link)} ${link.duplex === "full" ? "FDX" : "HDX"} ${autonegText(link)}`;
}

/** Copper negotiates its speed; what has no wire has a fixed one. */
function autonegText({ autoneg }: LinkStatus): string {
  return autoneg ? "Autoneg" : "Fixed";
}
