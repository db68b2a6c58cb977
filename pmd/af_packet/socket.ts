// AF_PACKET sockets: packet(7) and linux/if_packet.h.
import { SOCK_CLOEXEC, SOCK_RAW } from "../../src/bus/netdev/abi.ts";
import { PollmodeError } from "../../src/errors.ts";
import { close } from "../../src/libc/libc.ts";
import {
  bind,
  getSocketOption,
  type SocketOption,
  setSocketOption,
  socket,
} from "../../src/libc/packet-socket.ts";
import { MIB } from "../../src/limits.ts";
import { type FanoutMode, fanoutModes, type RingShape } from "./arguments.ts";

const AF_PACKET = 17;
const ETH_P_ALL = 3;
const TPACKET_V2 = 1;
/** struct sockaddr_ll { u16 family, protocol (network order); int ifindex; … }. */
const SOCKADDR_LL_BYTES = 20;
/** What a transmit socket may have under way; the default, 208 KiB, is some 90 frames. */
const SEND_BUFFER_BYTES = 8 * MIB;

const packet = (name: string, number: number): SocketOption => ({ level: 263, number, name });
const OPTION = {
  ADD_MEMBERSHIP: packet("PACKET_ADD_MEMBERSHIP", 1),
  DROP_MEMBERSHIP: packet("PACKET_DROP_MEMBERSHIP", 2),
  RX_RING: packet("PACKET_RX_RING", 5),
  STATISTICS: packet("PACKET_STATISTICS", 6),
  VERSION: packet("PACKET_VERSION", 10),
  TX_RING: packet("PACKET_TX_RING", 13),
  LOSS: packet("PACKET_LOSS", 14),
  VNET_HDR: packet("PACKET_VNET_HDR", 15),
  FANOUT: packet("PACKET_FANOUT", 18),
  QDISC_BYPASS: packet("PACKET_QDISC_BYPASS", 20),
  IGNORE_OUTGOING: packet("PACKET_IGNORE_OUTGOING", 23),
  SNDBUF: { level: 1, number: 7, name: "SO_SNDBUF" },
  SNDBUFFORCE: { level: 1, number: 32, name: "SO_SNDBUFFORCE" },
} as const;

const FANOUT_ROLLOVER = 0x1000;
const FANOUT_UNIQUE_ID = 0x2000;
const FANOUT_DEFRAG = 0x8000;

/** PACKET_MR_*. */
export const Membership = { MULTICAST: 0, PROMISCUOUS: 1, ALL_MULTICAST: 2, UNICAST: 3 } as const;

const RIGHTS_FIX =
  "run as root, or give node the right: setcap cap_net_raw,cap_net_admin+ep $(readlink -f $(which node))";

export interface FanoutOptions {
  readonly mode: FanoutMode;
  readonly rollover: boolean;
  readonly defrag: boolean;
}

export class PacketSocket {
  readonly fd: number;
  private readonly what: string;

  /** It receives nothing until listen(). Throws EPERM without CAP_NET_RAW. `what` is named in messages. */
  constructor(what: string) {
    this.what = what;
    this.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0, `AF_PACKET, ${what}`, RIGHTS_FIX);
  }

  /** The receive ring is to be laid over the arena before listen(). */
  receiveRing(shape: RingShape, outgoing: boolean): void {
    this.set(OPTION.VERSION, TPACKET_V2);
    this.set(OPTION.VNET_HDR, 1);
    try {
      if (!outgoing) this.set(OPTION.IGNORE_OUTGOING, 1);
    } catch {
      // kernels before 4.20: the hot side looks at each frame
    }
    this.ring(OPTION.RX_RING, shape);
  }

  transmitRing(shape: RingShape, qdiscBypass: boolean): void {
    this.set(OPTION.VERSION, TPACKET_V2);
    // a frame that the kernel refuses is left out; else it would block those behind it
    this.set(OPTION.LOSS, 1);
    if (qdiscBypass) this.set(OPTION.QDISC_BYPASS, 1);
    try {
      this.set(OPTION.SNDBUFFORCE, SEND_BUFFER_BYTES);
    } catch {
      this.set(OPTION.SNDBUF, SEND_BUFFER_BYTES); // without CAP_NET_ADMIN: up to net.core.wmem_max
    }
    this.ring(OPTION.TX_RING, shape);
  }

  private ring(option: SocketOption, shape: RingShape): void {
    const request = new Uint32Array([shape.blockBytes, shape.blocks, shape.frameBytes, shape.frames]);
    const bytes = shape.blocks * shape.blockBytes;
    try {
      setSocketOption(this.fd, option, new Uint8Array(request.buffer), this.what);
    } catch (cause) {
      const message = `${this.what}: the kernel gives no ring of ${shape.frames} frames (${bytes} bytes)`;
      const fix = "choose a smaller framecnt or framesz, or fewer qpairs; free memory";
      throw new PollmodeError("PACKET_RING", `${message}: ${(cause as Error).message}`, fix, { cause });
    }
  }

  /** Binds it to an interface: from now on it receives. */
  listen(index: number): void {
    this.bindTo(index, ETH_P_ALL);
  }

  /** Binds it to an interface for sending alone. */
  bindForSending(index: number): void {
    this.bindTo(index, 0);
  }

  private bindTo(index: number, protocol: number): void {
    const address = Buffer.alloc(SOCKADDR_LL_BYTES);
    address.writeUInt16LE(AF_PACKET);
    address.writeUInt16BE(protocol, 2);
    address.writeInt32LE(index, 4);
    bind(this.fd, address, this.what);
  }

  /** Joins the group `id`; the first one of a group gives none and learns it. */
  joinFanout(options: FanoutOptions, id: number | undefined): number {
    const flags = (options.rollover ? FANOUT_ROLLOVER : 0) | (options.defrag ? FANOUT_DEFRAG : 0);
    const type = fanoutModes.indexOf(options.mode) | flags;
    const how = id === undefined ? (type | FANOUT_UNIQUE_ID) << 16 : (type << 16) | id;
    this.set(OPTION.FANOUT, how);
    return getSocketOption(this.fd, OPTION.FANOUT, 1, this.what)[0]! & 0xffff;
  }

  /** Joins or leaves one of Membership on an interface; the kernel leaves all when the socket is closed. */
  member(index: number, type: number, on: boolean, mac: Uint8Array = new Uint8Array()): void {
    const request = Buffer.alloc(16); // struct packet_mreq
    request.writeInt32LE(index);
    request.writeUInt16LE(type, 4);
    request.writeUInt16LE(mac.length, 6);
    request.set(mac, 8);
    setSocketOption(this.fd, on ? OPTION.ADD_MEMBERSHIP : OPTION.DROP_MEMBERSHIP, request, this.what);
  }

  /** Frames that found no free slot, since this was last asked. */
  takeDrops(): number {
    return getSocketOption(this.fd, OPTION.STATISTICS, 2, this.what)[1]!;
  }

  close(): void {
    close(this.fd);
  }

  private set(option: SocketOption, value: number): void {
    setSocketOption(this.fd, option, value, this.what);
  }
}
