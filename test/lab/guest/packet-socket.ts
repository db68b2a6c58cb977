// A packet socket (packet(7)) on one of the kernel's interfaces: frames go out and come in by the kernel's own driver,
// which owes nothing to ours. In the lab's guest, in the network namespace of the interface.
import { readFileSync } from "node:fs";
import { EAGAIN, SOCK_CLOEXEC, SOCK_NONBLOCK } from "../../../src/libc/abi.ts";
import { close } from "../../../src/libc/libc.ts";
import { check, lastErrno, libc, systemError } from "../../../src/libc/native.ts";
import { pause, until } from "../../acceptance/support.ts";

// Linux, include/uapi/linux/if_packet.h and if_ether.h
const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_PROMISC = 1;
const PACKET_IGNORE_OUTGOING = 23;
const ETH_P_ALL_BIG_ENDIAN = 0x0300;
const SOCKADDR_LL_BYTES = 20;
const PACKET_MREQ_BYTES = 16;

const FRAME_BYTES_MAX = 10_000;
const FRAME_TIMEOUT_MS = 10_000;
const SURPLUS_MS = 20;

const c = {
  socket: libc.func("int socket(int, int, int)"),
  bind: libc.func("int bind(int, void *, unsigned int)"),
  setsockopt: libc.func("int setsockopt(int, int, int, void *, unsigned int)"),
  send: libc.func("int64_t send(int, void *, size_t, int)"),
  recv: libc.func("int64_t recv(int, void *, size_t, int)"),
};

export class PacketSocket implements Disposable {
  /** 6 bytes. */
  readonly mac: Uint8Array;
  private readonly name: string;
  private readonly fd: number;
  private readonly buffer = Buffer.alloc(FRAME_BYTES_MAX);

  /** Receives every frame, whomever it is for; of those that this machine sends none. */
  constructor(name: string) {
    this.name = name;
    const sysfs = (file: string) => readFileSync(`/sys/class/net/${name}/${file}`, "utf8").trim();
    this.mac = Uint8Array.from(Buffer.from(sysfs("address").replaceAll(":", ""), "hex"));
    const index = Number(sysfs("ifindex"));
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.fd = check(c.socket(AF_PACKET, type, 0), "socket", "AF_PACKET");
    const on = Buffer.alloc(4);
    on.writeInt32LE(1);
    this.set(PACKET_IGNORE_OUTGOING, on);
    const membership = Buffer.alloc(PACKET_MREQ_BYTES);
    membership.writeInt32LE(index);
    membership.writeUInt16LE(PACKET_MR_PROMISC, 4);
    this.set(PACKET_ADD_MEMBERSHIP, membership);
    const address = Buffer.alloc(SOCKADDR_LL_BYTES);
    address.writeUInt16LE(AF_PACKET);
    address.writeUInt16LE(ETH_P_ALL_BIG_ENDIAN, 2);
    address.writeInt32LE(index, 4);
    check(c.bind(this.fd, address, address.length), "bind", name);
  }

  private set(option: number, value: Buffer): void {
    check(c.setsockopt(this.fd, SOL_PACKET, option, value, value.length), "setsockopt", this.name);
  }

  send(frame: Uint8Array): void {
    check(Number(c.send(this.fd, frame, frame.length, 0)), "send", `${this.name}, ${frame.length} bytes`);
  }

  /**
   * Waits until `count` frames have come, and a little for one too many. Fewer, when none comes any more. A tag that
   * the kernel's driver took off is not there.
   */
  async receive(count: number): Promise<Buffer[]> {
    const frames: Buffer[] = [];
    const isThere = () => {
      for (let frame = this.next(); frame; frame = this.next()) frames.push(frame);
      return frames.length >= count;
    };
    await until(`${count} frames`, isThere, FRAME_TIMEOUT_MS).catch(() => 0);
    await pause(SURPLUS_MS);
    isThere();
    return frames;
  }

  private next(): Buffer | undefined {
    const bytes = Number(c.recv(this.fd, this.buffer, this.buffer.length, 0));
    if (bytes >= 0) return Buffer.from(this.buffer.subarray(0, bytes));
    if (lastErrno() === EAGAIN) return undefined;
    throw systemError("recv", this.name, lastErrno());
  }

  [Symbol.dispose](): void {
    close(this.fd);
  }
}
