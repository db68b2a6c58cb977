// The kernel's interfaces, addresses and routes: of this machine by rtnetlink, of a recorded one from its netlink.json,
// which holds a LinkState as it is.
import { type InterfaceAddress, listAddresses, listRoutes, type Route } from "../bus/netlink/addresses.ts";
import { Rtnetlink } from "../bus/netlink/client.ts";
import { type Link, listLinks } from "../bus/netlink/link.ts";
import { type LinkElsewhere, linksElsewhere } from "../bus/netlink/namespaces.ts";
import { PollmodeError } from "../errors.ts";
import type { Machine } from "./machine.ts";

/** Of one network namespace: this process's. */
export interface LinkState {
  readonly links: readonly Link[];
  /** What stands on `links` in other namespaces. */
  readonly elsewhere?: readonly LinkElsewhere[];
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly Route[];
}

const RECORD = "/netlink.json";

/** Undefined of a recorded machine that has none. Errors: of Rtnetlink.dump; RECORD_VALUE. */
export function readLinkState(machine: Machine): LinkState | undefined {
  if (!isThisMachine(machine)) return readRecord(machine);
  using client = new Rtnetlink();
  const links = listLinks(client);
  return { links, elsewhere: linksElsewhere(), addresses: listAddresses(client), routes: listRoutes(client) };
}

/** A machine may be made up of parts: then its interfaces are not this machine's. */
export function isThisMachine(machine: Machine): boolean {
  return machine.isReal && machine.sysfs.root === "/sys";
}

function readRecord(machine: Machine): LinkState | undefined {
  const text = machine.readText(RECORD);
  if (text === undefined) return undefined;
  const bad = (why: string, cause?: unknown) => {
    const fix = "it has to be an object with links, addresses and routes, each a list";
    return new PollmodeError("RECORD_VALUE", `${machine.path(RECORD)}: ${why}`, fix, { cause });
  };
  let found: Partial<LinkState> | null;
  try {
    found = JSON.parse(text) as Partial<LinkState> | null;
  } catch (cause) {
    throw bad(String(cause), cause);
  }
  const { links, elsewhere = [], addresses = [], routes = [] } = found ?? {};
  const isList = (list: unknown) =>
    Array.isArray(list) && list.every((entry) => typeof entry === "object" && entry);
  const areLists = [links, elsewhere, addresses, routes].every(isList);
  if (!areLists) throw bad("it lacks one of them");
  return { links: links!, elsewhere, addresses, routes };
}
