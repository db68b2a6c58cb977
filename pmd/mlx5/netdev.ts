// The kernel's interface of a port: it keeps the NIC, so address, MTU and link are its, and what the eSwitch must let
// through to a virtual function is asked of it. It may be in another network namespace than this process, as where a
// container was given the RDMA device alone: then sysfs says what it can, and nothing of it is changed.
import { readFileSync } from "node:fs";
import { IFF_UP } from "../../src/bus/netdev/abi.ts";
import { NetInterface } from "../../src/bus/netdev/interface.ts";
import { rdmaSysfs } from "../../src/bus/rdma/devices.ts";
import type { RdmaDeviceInfo } from "../../src/bus/rdma/types.ts";
import { PollmodeError } from "../../src/errors.ts";
import { Membership, PacketSocket } from "../af_packet/socket.ts";

/** undefined: there is no such attribute, it cannot be read, or its device went. */
export function readSysfs(path: string): string | undefined {
  try {
    return readFileSync(rdmaSysfs().path(path), "utf8").trimEnd();
  } catch {
    return undefined;
  }
}

/** The frames that a port wants. */
interface Listening {
  readonly macs: readonly Uint8Array[];
  readonly groups: readonly Uint8Array[];
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
}

interface Member {
  readonly type: number;
  readonly mac: readonly number[];
}

export class KernelInterface {
  private readonly port: string;
  private readonly info: RdmaDeviceInfo;
  /** As sysfs has it. */
  private readonly listed: string | undefined;
  /** In this network namespace, where ioctls reach it. */
  private readonly here: NetInterface | undefined;
  private members: PacketSocket | undefined;
  private readonly joined = new Map<string, Member>();

  /** `named`: how the user called it; else the device's first. */
  constructor(port: string, info: RdmaDeviceInfo, named?: string) {
    this.port = port;
    this.info = info;
    this.listed = named ?? info.netdevs[0];
    this.here = this.find();
  }

  /** Another interface may have this name here, where sysfs shows another namespace: the addresses tell. */
  private find(): NetInterface | undefined {
    if (this.listed === undefined) return undefined;
    try {
      const found = new NetInterface(this.port, this.listed);
      const mac = this.attribute("address");
      return mac === undefined || mac === text(found.mac) ? found : undefined;
    } catch {
      return undefined; // not here
    }
  }

  private attribute(name: string): string | undefined {
    return this.name === undefined ? undefined : readSysfs(`class/net/${this.name}/${name}`);
  }

  /** undefined: none that can be seen. */
  get name(): string | undefined {
    return this.here?.name ?? this.listed;
  }

  /** In this network namespace. */
  get isHere(): boolean {
    return this.here !== undefined;
  }

  /** Down: the NIC's port is down too, or soon will be. Of what cannot be seen: up. */
  get up(): boolean {
    return this.ask((here) => here.up) ?? true;
  }

  /** The interface's; of one that cannot be seen by the device's first GID. Error: RDMA_NO_MAC. */
  get mac(): Uint8Array {
    const found = this.attribute("address") ?? this.gidMac();
    const mac = this.ask((here) => here.mac) ?? (found ? bytes(found) : undefined);
    if (mac?.length === 6) return mac;
    const message = `${this.port}: ${this.info.ibdev} has no interface whose address could be read`;
    throw new PollmodeError(
      "RDMA_NO_MAC",
      message,
      "give the address that its frames go to: mac=02:00:00:00:00:01",
    );
  }

  /** RoCE's default GID is fe80:: and the address as EUI-64 (RFC 4291, appendix A). */
  private gidMac(): string | undefined {
    const gid = readSysfs(`class/infiniband/${this.info.ibdev}/ports/1/gids/0`) ?? "";
    const found = /^fe80(?::0000){3}:(..)(..):(..)ff:fe(..):(..)(..)$/.exec(gid);
    if (!found) return undefined;
    const first = (Number.parseInt(found[1]!, 16) ^ 2).toString(16).padStart(2, "0");
    return [first, ...found.slice(2)].join(":");
  }

  /** undefined: it cannot be seen. */
  get mtu(): number | undefined {
    const known = this.ask((here) => here.mtu) ?? this.attribute("mtu");
    return known === undefined ? undefined : Number(known);
  }

  /** False: it is not here, so it stays as it is. */
  setMtu(mtu: number): boolean {
    this.here?.setMtu(mtu);
    return this.here !== undefined;
  }

  setUp(up: boolean): void {
    this.here?.setFlags(up ? IFF_UP : 0, up ? 0 : IFF_UP);
  }

  /** Takes note of a new name. False: it was here and is no more. */
  exists(): boolean {
    return this.here?.exists() ?? true;
  }

  /** Frames with CRC and length errors: the port's, whoever they were for. */
  errors(): number {
    const counter = (name: string) => Number(this.attribute(`statistics/${name}`) ?? 0);
    return counter("rx_crc_errors") + counter("rx_length_errors");
  }

  /**
   * Asks the eSwitch to let frames through to a virtual function, by the interface's lists of addresses, which the
   * kernel tells it (mlx5e_vport_context_update); DPDK does so by netlink (mlx5_nl.c). Physical functions need none of
   * it. Errors: errno names.
   */
  follow(wanted: Listening): void {
    const isFunction = this.info.physicalFunction !== undefined || this.info.pci === undefined;
    if (!isFunction || !this.here) return;
    const own = text(this.mac); // which the eSwitch lets through anyway
    const macs = wanted.macs.filter((mac) => text(mac) !== own);
    const next = new Map(memberships({ ...wanted, macs }).map((one) => [JSON.stringify(one), one]));
    this.members ??= new PacketSocket(`${this.port}, interface ${this.here.name}`);
    for (const [name, { type, mac }] of next) {
      if (this.joined.has(name)) continue;
      this.members.member(this.here.index, type, true, Uint8Array.from(mac));
      this.joined.set(name, { type, mac });
    }
    for (const [name, { type, mac }] of this.joined) {
      if (next.has(name)) continue;
      this.members.member(this.here.index, type, false, Uint8Array.from(mac));
      this.joined.delete(name);
    }
  }

  /** Takes back what follow() asked for. */
  close(): void {
    this.members?.close();
    this.members = undefined;
    this.joined.clear();
  }

  private ask<T>(read: (here: NetInterface) => T): T | undefined {
    try {
      return this.here && read(this.here);
    } catch {
      return undefined; // it went meanwhile
    }
  }
}

function memberships({ macs, groups, promiscuous, allMulticast }: Listening): Member[] {
  return [
    ...macs.map((mac) => ({ type: Membership.UNICAST, mac: [...mac] })),
    ...groups.map((mac) => ({ type: Membership.MULTICAST, mac: [...mac] })),
    ...(promiscuous ? [{ type: Membership.PROMISCUOUS, mac: [] }] : []),
    ...(allMulticast ? [{ type: Membership.ALL_MULTICAST, mac: [] }] : []),
  ];
}

function bytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(":"), (part) => Number.parseInt(part, 16));
}

function text(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
