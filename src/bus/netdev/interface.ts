// A network interface of the kernel: what it is, and what a port may change of it. By ioctl, in this process's own
// network namespace (sysfs shows that of whoever mounted it).
import { readdirSync } from "node:fs";
import { nearest } from "../../eal/nearest.ts";
import { PollmodeError } from "../../errors.ts";
import { ioctl } from "../../libc/ioctl.ts";
import { addressOf, close } from "../../libc/libc.ts";
import { socket } from "../../libc/packet-socket.ts";
import {
  AF_INET,
  ARPHRD_ETHER,
  ARPHRD_LOOPBACK,
  ETHTOOL_AUTONEG,
  ETHTOOL_CMD_BYTES,
  ETHTOOL_DUPLEX,
  ETHTOOL_GSET,
  ETHTOOL_SPEED,
  ETHTOOL_SPEED_HIGH,
  IFF_RUNNING,
  IFF_UP,
  IFNAMSIZ,
  IFREQ_BYTES,
  SIOC,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SPEED_UNKNOWN,
} from "./abi.ts";

export interface InterfaceLink {
  readonly up: boolean;
  /** Mbit/s; 0 where it means nothing. */
  readonly speed: number;
  readonly duplex: "full" | "half";
  readonly autoneg: boolean;
}

const NAME_FIX = "interfaces have names of 1 to 15 characters without /, : and spaces";

/** Throws DEVARGS_VALUE for what cannot be an interface's name (dev_valid_name, net/core/dev.c). */
export function checkInterfaceName(port: string, name: string): void {
  const fits = Buffer.byteLength(name) < IFNAMSIZ && !/[\s/:]/.test(name);
  if (fits && name !== "." && name !== "..") return;
  throw new PollmodeError("DEVARGS_VALUE", `${port}: iface="${name}" is no interface's name`, NAME_FIX);
}

/** The interfaces of the kernel that sysfs shows. */
function interfaceNames(): string[] {
  try {
    return readdirSync("/sys/class/net");
  } catch {
    return [];
  }
}

/** One ioctl on a socket of its own: they are rare, and nothing stays open behind them. */
function interfaceIoctl(request: Parameters<typeof ioctl>[1], what: string, ifreq: Buffer): void {
  const fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0, what);
  try {
    ioctl(fd, request, what, ifreq);
  } finally {
    close(fd);
  }
}

export class NetInterface {
  /** Changes when somebody renames it. */
  name: string;
  readonly index: number;
  private readonly port: string;

  /** Throws INTERFACE_UNKNOWN, INTERFACE_TYPE. `port` is named in messages. */
  constructor(port: string, name: string) {
    checkInterfaceName(port, name);
    this.port = port;
    this.name = name;
    this.index = this.lookUp(name);
    const type = this.get(SIOC.GIFHWADDR).readUInt16LE(IFNAMSIZ);
    if (type === ARPHRD_ETHER || type === ARPHRD_LOOPBACK) return;
    const message = `${port}: interface ${name} carries no Ethernet frames (ARPHRD ${type})`;
    throw new PollmodeError("INTERFACE_TYPE", message, "choose an Ethernet interface: `ip link` lists them");
  }

  private lookUp(name: string): number {
    try {
      return this.get(SIOC.GIFINDEX).readInt32LE(IFNAMSIZ);
    } catch (cause) {
      if (!(cause instanceof PollmodeError) || cause.code !== "ENODEV") throw cause;
      const names = interfaceNames();
      const near = nearest(name, names);
      const hint = near ? `did you mean iface=${near}? ` : "";
      const fix = `${hint}interfaces: ${names.join(", ")}; make one with \`ip link add\``;
      const message = `${this.port}: there is no interface ${name}`;
      throw new PollmodeError("INTERFACE_UNKNOWN", message, fix, { cause });
    }
  }

  /** Whether it is still there; takes note of a new name. */
  exists(): boolean {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.writeInt32LE(this.index, IFNAMSIZ);
    try {
      interfaceIoctl(SIOC.GIFNAME, `interface ${this.index}`, request);
      this.name = request.toString("latin1", 0, request.indexOf(0));
      return true;
    } catch {
      return false;
    }
  }

  get flags(): number {
    return this.get(SIOC.GIFFLAGS).readUInt16LE(IFNAMSIZ);
  }

  /** Sets and clears IFF_ bits. */
  setFlags(on: number, off: number): void {
    const wanted = (this.flags | on) & ~off;
    this.set(SIOC.SIFFLAGS, (request) => request.writeUInt16LE(wanted & 0xffff, IFNAMSIZ));
  }

  get up(): boolean {
    return (this.flags & IFF_UP) !== 0;
  }

  /** 6 bytes. */
  get mac(): Uint8Array {
    return new Uint8Array(this.get(SIOC.GIFHWADDR).subarray(IFNAMSIZ + 2, IFNAMSIZ + 8));
  }

  setMac(mac: Uint8Array): void {
    this.set(SIOC.SIFHWADDR, (request) => {
      request.writeUInt16LE(ARPHRD_ETHER, IFNAMSIZ);
      request.set(mac, IFNAMSIZ + 2);
    });
  }

  get mtu(): number {
    return this.get(SIOC.GIFMTU).readInt32LE(IFNAMSIZ);
  }

  setMtu(mtu: number): void {
    this.set(SIOC.SIFMTU, (request) => request.writeInt32LE(mtu, IFNAMSIZ));
  }

  /** Down also when it is gone. */
  link(): InterfaceLink {
    if (!this.exists()) return { up: false, speed: 0, duplex: "full", autoneg: false };
    const up = (this.flags & IFF_RUNNING) !== 0;
    const command = this.ethtool();
    if (!command) return { up, speed: 0, duplex: "full", autoneg: false };
    const low = command.readUInt16LE(ETHTOOL_SPEED);
    const speed = low + command.readUInt16LE(ETHTOOL_SPEED_HIGH) * 0x10000;
    return {
      up,
      speed: speed === SPEED_UNKNOWN || speed === 0xffff ? 0 : speed,
      duplex: command[ETHTOOL_DUPLEX] === 0 ? "half" : "full",
      autoneg: command[ETHTOOL_AUTONEG] === 1,
    };
  }

  /** undefined where the interface's driver knows nothing of speeds. */
  private ethtool(): Buffer | undefined {
    const command = Buffer.alloc(ETHTOOL_CMD_BYTES);
    command.writeUInt32LE(ETHTOOL_GSET);
    try {
      this.set(SIOC.ETHTOOL, (request) => request.writeBigUInt64LE(addressOf(command), IFNAMSIZ));
      return command;
    } catch {
      return undefined;
    }
  }

  private get(request: (typeof SIOC)[keyof typeof SIOC]): Buffer {
    return this.set(request, () => {});
  }

  private set(request: (typeof SIOC)[keyof typeof SIOC], fill: (ifreq: Buffer) => void): Buffer {
    const ifreq = Buffer.alloc(IFREQ_BYTES);
    ifreq.write(this.name, "latin1");
    fill(ifreq);
    interfaceIoctl(request, `${this.port}, interface ${this.name}`, ifreq);
    return ifreq;
  }
}
