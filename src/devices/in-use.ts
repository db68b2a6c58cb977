// What the kernel uses a device for: what would break if its driver were taken away. An interface that is merely up is
// not in use. Looked at from the interface upwards, through all that stands on it:
//
//   0000:01:00.0 ── eth0 ──member of── bond0 ──member of── br0     addresses, routes, the session's own SSH connection
//                     └── eth0.5 (VLAN), macvlan0, …; those of other network namespaces too
//
// Not counted: IPv6 link-local addresses and the kernel's own routes, which every interface gets when it comes up; and
// packet sockets, since LLDP and DHCP daemons listen on every interface there is.
import { isDeepStrictEqual } from "node:util";
import type { InterfaceAddress, Route } from "../bus/netlink/addresses.ts";
import type { Link } from "../bus/netlink/link.ts";
import type { PciDevice } from "../bus/pci/scan.ts";
import { devicePath } from "../bus/pci/sysfs.ts";
import { type LinkState, readLinkState } from "./link-state.ts";
import type { Machine } from "./machine.ts";
import { carriersOf, sshSession } from "./ssh-session.ts";

export type UseKind =
  | "address"
  | "route"
  | "default-route"
  | "bond"
  | "bridge"
  | "team"
  | "openvswitch"
  | "vrf"
  /** A member of something else. */
  | "member"
  | "vlan"
  | "macvlan"
  | "ipvlan"
  /** Something else stands on it. */
  | "stacked"
  | "ssh"
  | "xdp"
  /** It is in another network namespace, a container's for instance. */
  | "namespace";

export interface Use {
  /** The device's own interface; "" where none can be seen. */
  readonly interface: string;
  readonly kind: UseKind;
  /** What is used, for people: `eth0 has the address 10.0.0.1/24`. */
  readonly text: string;
}

/** Masters that carry on what a member receives, so that what they are used for, the member is. */
const through: readonly string[] = ["bond", "bridge", "team", "openvswitch"];
const memberKinds: Readonly<Record<string, UseKind>> = {
  bond: "bond",
  bridge: "bridge",
  team: "team",
  openvswitch: "openvswitch",
  vrf: "vrf",
};
const upperKinds: Readonly<Record<string, UseKind>> = {
  vlan: "vlan",
  macvlan: "macvlan",
  macvtap: "macvlan",
  ipvlan: "ipvlan",
  ipvtap: "ipvlan",
};
/** Whose IFLA_LINK is a peer, and not what they stand on. */
const peers: readonly string[] = ["veth", "netkit", "vxcan"];
/** A full table of the Internet's routes needs no listing. */
const ROUTES_NAMED_MAX = 4;
/** linux/rtnetlink.h, RT_TABLE_LOCAL: this machine's own addresses. */
const TABLE_LOCAL = 255;

/**
 * What a device is in use for; empty: it may be taken. `state`: for several devices, read once. Errors: of
 * readLinkState.
 */
export async function deviceUse(
  machine: Machine,
  device: PciDevice,
  state: LinkState | undefined = readLinkState(machine),
): Promise<Use[]> {
  const hidden = hiddenInterfaces(machine, device, state);
  if (!state) return hidden;
  const session = sshSession(machine);
  const carriers = session ? carriersOf(session, state) : new Set<number>();
  const own = state.links.filter((link) => isOf(link, device));
  return [...hidden, ...own.flatMap((link) => new Walk(link, state, carriers).uses)];
}

function isOf({ name, parent, parentBus }: Link, device: PciDevice): boolean {
  return device.interfaces.includes(name) || (parentBus === "pci" && parent === device.address);
}

/** sysfs shows interfaces of the namespace that it was mounted in, and rtnetlink those of this process's. */
function hiddenInterfaces(machine: Machine, device: PciDevice, state: LinkState | undefined): Use[] {
  const where = "another network namespace, a container's for instance";
  const unseen = device.interfaces.filter((name) => state && !state.links.some((link) => link.name === name));
  const uses = unseen.map(
    (name): Use => ({
      interface: name,
      kind: "namespace",
      text: `${name} is in ${where}, unlike this process`,
    }),
  );
  if (device.interfaces.length > 0) return uses;
  // the folder stays as long as an interface is in it, be it one that cannot be seen
  const folders = machine.sysfs.list(devicePath(device.address)).filter((name) => /^virtio\d+$/.test(name));
  const isHidden = ["net", ...folders.map((name) => `${name}/net`)].some((folder) =>
    machine.sysfs.exists(devicePath(device.address, folder)),
  );
  const text = `its interface is in ${where}: \`ip -all netns exec ip link\` lists those that have names`;
  return isHidden ? [{ interface: "", kind: "namespace", text }] : [];
}

/** From one interface of a device upwards. */
class Walk {
  readonly uses: Use[] = [];
  readonly #base: Link;
  readonly #state: LinkState;
  readonly #carriers: ReadonlySet<number>;
  readonly #seen = new Set<number>();

  constructor(base: Link, state: LinkState, carriers: ReadonlySet<number>) {
    this.#base = base;
    this.#state = state;
    this.#carriers = carriers;
    this.#visit(base);
  }

  #add(kind: UseKind, text: string): void {
    const use: Use = { interface: this.#base.name, kind, text };
    if (!this.uses.some((other) => isDeepStrictEqual(other, use))) this.uses.push(use);
  }

  #visit(link: Link): void {
    if (this.#seen.has(link.index)) return;
    this.#seen.add(link.index);
    const name = link === this.#base ? link.name : `${link.name}, over ${this.#base.name},`;
    if (this.#carriers.has(link.index)) this.#add("ssh", `${name} carries this session's SSH connection`);
    this.#addresses(link, name);
    this.#routes(link, name);
    if (link.hasXdp) this.#add("xdp", `${name} has an XDP program attached`);
    this.#master(link, name);
    this.#uppers(link);
  }

  #addresses({ index }: Link, name: string): void {
    for (const own of this.#state.addresses) {
      if (own.index === index && !isLinkLocal(own)) {
        this.#add("address", `${name} has the address ${own.address}/${own.prefixLength}`);
      }
    }
  }

  #routes({ index }: Link, name: string): void {
    const own = this.#state.routes.filter(({ hops, isOfKernel, table }) => {
      return !isOfKernel && table !== TABLE_LOCAL && hops.some((hop) => hop.index === index);
    });
    for (const route of own.filter(isDefault)) {
      this.#add("default-route", `${name} has the default route of IPv${route.family}${via(route, index)}`);
    }
    const others = own.filter((route) => !isDefault(route));
    for (const route of others.slice(0, ROUTES_NAMED_MAX)) {
      this.#add(
        "route",
        `${name} has the route to ${route.destination}/${route.prefixLength}${via(route, index)}`,
      );
    }
    const more = others.length - ROUTES_NAMED_MAX;
    if (more > 0) this.#add("route", `${name} has ${more} more routes`);
  }

  #master({ master, memberKind }: Link, name: string): void {
    if (master === undefined) return;
    const above = this.#state.links.find(({ index }) => index === master);
    const kind = above?.kind ?? memberKind ?? "";
    const what = kind === "" ? "" : `${kind} `;
    this.#add(
      memberKinds[kind] ?? "member",
      `${name} is a member of ${what}${above?.name ?? `interface ${master}`}`,
    );
    if (above && through.includes(kind)) this.#visit(above);
    if (kind !== "openvswitch") return;
    // which of its bridges has which port, its daemon alone knows: the interfaces of all of them count
    for (const internal of this.#state.links) if (internal.kind === kind) this.#visit(internal);
  }

  #uppers({ index, name }: Link): void {
    for (const upper of this.#state.links) {
      const stands = upper.lower === index && !upper.lowerIsElsewhere && !peers.includes(upper.kind ?? "");
      if (!stands || upper.kind === undefined) continue;
      this.#add(upperKinds[upper.kind] ?? "stacked", `${upper.name} (${upper.kind}) stands on ${name}`);
      this.#visit(upper);
    }
    for (const upper of this.#state.elsewhere ?? []) {
      if (upper.lower !== index || peers.includes(upper.kind)) continue;
      const text = `${upper.name} (${upper.kind}), in ${upper.namespace}, stands on ${name}`;
      this.#add(upperKinds[upper.kind] ?? "stacked", text);
    }
  }
}

const isDefault = ({ prefixLength }: Route) => prefixLength === 0;

/** fe80::/10: every interface that is up has one, by which nobody has said that he uses it. */
const isLinkLocal = ({ family, address }: InterfaceAddress) => family === 6 && /^fe[89ab]/i.test(address);

function via({ hops }: Route, index: number): string {
  const gateway = hops.find((hop) => hop.index === index)?.gateway;
  return gateway === undefined ? "" : ` via ${gateway}`;
}
