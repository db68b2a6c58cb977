// What the scripts of device.bed.test.ts share: frames, a port for each test, and tests of one mode alone.
import t, { type Test } from "tap";
import { ethernet, ipv4, udp } from "../../support/frames.ts";
import { LoopPort, type Mode, type Received } from "./loop-port.ts";

export const mode = process.argv[2] as Mode;
export const IBDEV = `ibdev=mlx5_0,mode=${mode},rx-queue-size=256`;
/** A test of what one mode alone has, or has not. */
export function testOf(which: Mode, name: string, work: (t: Test) => Promise<void>): void {
  if (mode === which) void t.test(name, work);
}

export const OTHER = Buffer.from("020000000077", "hex");
/** The interface's in the emulator's tree. */
export const KERNELS = Buffer.from("0215b3000001", "hex");
export const GROUP = Buffer.from("01005e000007", "hex");
export const GROUP6 = Buffer.from("333300000007", "hex");
export const BROADCAST = Buffer.alloc(6, 0xff);
export const TAG = 0x8100;

/** A frame of no protocol, told apart by its last byte. */
export const plain = (destination: Uint8Array, number: number, tags: [number, number][] = []) =>
  ethernet(0x88b5, Buffer.alloc(50, number), { destination, tags });
export const numbers = (received: readonly Received[]) => received.map(({ frame }) => frame.at(-1)).sort();

/** Opened, started, and ended with all mbufs back. */
export async function withPort(
  t: Tap,
  work: (port: LoopPort, own: Uint8Array) => Promise<unknown>,
  config: Parameters<LoopPort["start"]>[0] = {},
  args = "",
): Promise<void> {
  const port = await LoopPort.open(`${IBDEV}${args}`);
  try {
    await port.start(config);
    await work(port, port.device.mac);
    t.same(port.errors, []);
  } finally {
    await port[Symbol.asyncDispose]();
  }
  t.same(port.rig.pool.audit([]), [], "every mbuf is back");
}
type Tap = Pick<typeof t, "same" | "equal" | "ok" | "match">;

export const IP_CHECKSUM = 24;
export const UDP_CHECKSUM = 40;

/** A datagram, with the byte at `wrongAt` spoilt. */
export function datagram(destination: Uint8Array, number: number, wrongAt?: number): Buffer {
  const frame = ipv4(17, udp(Buffer.alloc(20, number)), { destination });
  if (wrongAt !== undefined) frame[wrongAt]! ^= 0x55;
  return frame;
}
