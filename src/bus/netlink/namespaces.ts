// Interfaces of other network namespaces that stand on interfaces of this one: a VLAN or macvlan of a container's. The
// kernel tells of them in their own namespace alone, and takes the links upper_… away from /sys/class/net when they
// are moved (net/core/dev.c, netdev_adjacent_is_neigh_list). So each namespace that can be found is asked; those that
// nothing but a socket or an open file keeps cannot be found.
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import { inNetworkNamespace } from "../../libc/netns.ts";
import * as abi from "./abi.ts";
import { attribute, words } from "./attributes.ts";
import { Rtnetlink } from "./client.ts";
import { type Link, listLinks } from "./link.ts";
import { splitBody } from "./message.ts";
import { NetlinkSocket } from "./socket.ts";

/** Plain data: it may be kept in a file. */
export interface LinkElsewhere {
  readonly name: string;
  /** `vlan`, `macvlan`, … */
  readonly kind: string;
  /** Index of what it stands on, in this process's namespace. */
  readonly lower: number;
  /** For people: `network namespace web`, `the network namespace of nginx (process 812)`. */
  readonly namespace: string;
}

/** Of namespaces that this user may enter: root may all, others none. Errors: of Rtnetlink.dump. */
export function linksElsewhere(): LinkElsewhere[] {
  const own = openSync("/proc/thread-self/ns/net", "r");
  try {
    return otherNamespaces().flatMap(({ path, title }) => linksIn(path, title, own));
  } finally {
    closeSync(own);
  }
}

interface Namespace {
  readonly path: string;
  readonly title: string;
}

/** Each once: those that are mounted, as ip-netns(8) and container engines do, and those of processes. */
function otherNamespaces(): Namespace[] {
  const found = new Map<string, Namespace>();
  // proc(5), mountinfo: the fourth word is `net:[NUMBER]`, the fifth the place
  const mounts = optional(() => readFileSync("/proc/self/mountinfo", "utf8")) ?? "";
  for (const [, id, path] of mounts.matchAll(/^\d+ \d+ \S+ (net:\[\d+\]) (\S+) .* - nsfs /gm)) {
    const name = path!.slice(path!.lastIndexOf("/") + 1);
    found.set(id!, { path: path!, title: `network namespace ${name}` });
  }
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const path = `/proc/${pid}/ns/net`;
    const id = optional(() => readlinkSync(path));
    if (id === undefined || found.has(id)) continue;
    const name = optional(() => readFileSync(`/proc/${pid}/comm`, "utf8"))?.trim() ?? "?";
    found.set(id, { path, title: `the network namespace of ${name} (process ${pid})` });
  }
  found.delete(readlinkSync("/proc/thread-self/ns/net"));
  return [...found.values()];
}

/** None where it is gone meanwhile, or not for this user. */
function linksIn(path: string, title: string, own: number): LinkElsewhere[] {
  const fd = optional(() => openSync(path, "r"));
  if (fd === undefined) return [];
  try {
    using client = new Rtnetlink(inNetworkNamespace(fd, title, () => new NetlinkSocket()));
    const elsewhere = listLinks(client).filter(({ lowerNamespace }) => lowerNamespace !== undefined);
    if (elsewhere.length === 0) return [];
    const id = namespaceId(client, own);
    return elsewhere.flatMap(({ name, kind, lower, lowerNamespace }: Link) => {
      const isOurs = lowerNamespace === id && lower !== undefined && kind !== undefined;
      return isOurs ? [{ name, kind, lower, namespace: title }] : [];
    });
  } catch (error) {
    const isNotForUs = error instanceof PollmodeError && ["EPERM", "EINVAL"].includes(error.code);
    if (isNotForUs) return [];
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** By which number the client's namespace knows the one of `fd`; undefined: it does not. */
function namespaceId(client: Rtnetlink, fd: number): number | undefined {
  const what = "RTM_GETNSID";
  const request = Buffer.concat([Buffer.alloc(abi.RTGENMSG_BYTES), attribute(abi.NETNSA.FD, words(fd))]);
  const [answer] = client.request(abi.RTM.GETNSID, request, what);
  const id = answer && splitBody(answer.body, abi.RTGENMSG_BYTES, what)[1].i32(abi.NETNSA.NSID);
  return id !== undefined && id >= 0 ? id : undefined; // -1, NETNSA_NSID_NOT_ASSIGNED: by none
}

function optional<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch {
    return undefined;
  }
}
