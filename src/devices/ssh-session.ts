// The SSH connection that this session came by, if it did: taking its interface away would cut off whoever types.
import { BlockList } from "node:net";
import type { LinkState } from "./link-state.ts";
import type { Machine } from "./machine.ts";

export interface SshSession {
  readonly client: string;
  readonly server: string;
  /** The interface's name, of link-local addresses. */
  readonly zone: string | undefined;
}

/** sudo and su drop SSH_CONNECTION, but the shell they were typed in has it in its environment still. */
const ANCESTORS_MAX = 64;

/** Of this process or of one that it descends from; see ssh(1), SSH_CONNECTION. */
export function sshSession(machine: Machine): SshSession | undefined {
  const isOwn = machine.isReal || machine.env !== process.env; // a recorded machine is not where this session is
  const own = isOwn ? parseSession(machine.env.SSH_CONNECTION) : undefined;
  if (own) return own;
  let pid = process.ppid;
  for (let k = 0; pid > 1 && k < ANCESTORS_MAX; k++) {
    const environment = machine.readText(`/proc/${pid}/environ`)?.split("\0") ?? [];
    const found = environment.find((entry) => entry.startsWith("SSH_CONNECTION="));
    const session = parseSession(found?.slice("SSH_CONNECTION=".length));
    if (session) return session;
    pid = parentOf(pid, machine);
  }
  return undefined;
}

/** 0: of none. proc(5), /proc/PID/stat: the name in parentheses may hold anything. */
function parentOf(pid: number, machine: Machine): number {
  const stat = machine.readText(`/proc/${pid}/stat`) ?? "";
  return Number(/^ \S (\d+) /.exec(stat.slice(stat.lastIndexOf(")") + 1))?.[1] ?? 0);
}

/** `CLIENT PORT SERVER PORT`. */
function parseSession(text: string | undefined): SshSession | undefined {
  const [client, , server, port] = text?.trim().split(" ") ?? [];
  if (!client || !server || !port) return undefined;
  const plain = (address: string) =>
    address
      .replace(/%.*/, "")
      .replace(/^::ffff:(?=\d+\.)/i, "")
      .toLowerCase();
  return { client: plain(client), server: plain(server), zone: /%(.+)/.exec(server)?.[1] };
}

/** Indexes of interfaces that have the session's own address, or that its packets leave by. */
export function carriersOf(session: SshSession, { links, addresses, routes }: LinkState): Set<number> {
  const found = new Set<number>();
  const { client, server, zone } = session;
  for (const link of links) if (link.name === zone) found.add(link.index);
  if (zone !== undefined) return found;
  for (const { address, index } of addresses) if (address === server) found.add(index);
  const isHere = /^127\.|^::1$/.test(client) || addresses.some(({ address }) => address === client);
  if (isHere) return found;
  const family = client.includes(":") ? 6 : 4;
  const fitting = routes.filter((route) => route.family === family && contains(route, client));
  const longest = Math.max(...fitting.map(({ prefixLength }) => prefixLength));
  for (const { prefixLength, hops } of fitting) {
    if (prefixLength === longest) for (const { index } of hops) found.add(index);
  }
  return found;
}

function contains(
  network: { destination: string; prefixLength: number; family: 4 | 6 },
  address: string,
): boolean {
  const type = network.family === 4 ? "ipv4" : "ipv6";
  try {
    const list = new BlockList();
    list.addSubnet(network.destination, network.prefixLength, type);
    return list.check(address, type);
  } catch {
    return false; // SSH_CONNECTION is whatever somebody has set it to
  }
}
