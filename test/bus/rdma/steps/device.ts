// What the scenarios share: an open device over an arena of their own, all kinds of objects on it, and what is left.
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { RdmaContext } from "../../../../src/bus/rdma/context.ts";
import { findRdmaDevice } from "../../../../src/bus/rdma/devices.ts";
import type { RdmaObject } from "../../../../src/bus/rdma/objects.ts";
import { RX_HASH } from "../../../../src/bus/rdma/types.ts";
import { MIB, PAGE_BYTES } from "../../../../src/limits.ts";
import { Arena } from "../../../../src/memory/arena.ts";
import type { Range } from "../../../../src/memory/ranges.ts";

export const mac = Uint8Array.of(2, 0x15, 0xb3, 0, 0, 1);
const broadcast = new Uint8Array(6).fill(0xff);
/** Microsoft's, the RSS key of its verification suite. */
const key = Buffer.from(
  "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa",
  "hex",
);

/** A command to the emulated device, and its answer. */
export function control(command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(process.env.SOFTMLX5_CONTROL!, () => socket.end(`${command}\n`));
    let answer = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      answer += text;
    });
    socket.on("error", reject).on("close", () => {
      if (answer.startsWith("ok")) resolve(answer.slice(3).trimEnd());
      else reject(new Error(`${command}: ${answer}`));
    });
  });
}

export const openFiles = () => readdirSync("/proc/self/fd").length;

/** An open device whose rings are to lie in an arena. */
export class Bench {
  readonly arena = new Arena(16 * MIB);
  readonly context: RdmaContext;
  /** What libmlx5 has of the arena. */
  readonly rings = new Map<number, Range>();

  /** `ringBytesMax`: the allocator gives no more than that. */
  constructor(ibdev = "mlx5_0", ringBytesMax = Infinity) {
    this.context = RdmaContext.open(findRdmaDevice({ ibdev }, "port 0"), "port 0");
    let left = ringBytesMax;
    const allocate = (bytes: number) => {
      left -= bytes;
      if (left < 0) throw new Error(`there are ${left + bytes} bytes left, ${bytes} are asked for`);
      const range = this.arena.reserve("ring", bytes, PAGE_BYTES);
      this.rings.set(range.start, range);
      return range.start;
    };
    const free = (offset: number) => {
      this.arena.release(this.rings.get(offset)!);
      this.rings.delete(offset);
    };
    if (this.context.dv) this.context.useAllocator(allocate, free, this.arena.address);
  }

  isInRings(address: bigint): boolean {
    const offset = Number(address - this.arena.address);
    return [...this.rings.values()].some(({ start, bytes }) => offset >= start && offset < start + bytes);
  }

  /** Closes all; what is left then. */
  close(): { destroyed: readonly string[]; rings: number } {
    try {
      return { destroyed: this.context.close(), rings: this.rings.size };
    } finally {
      this.arena.close();
    }
  }
}

/** One of each object, in the order in which a port makes them: sending before receiving. */
export function build({ context, arena }: Bench) {
  const all: RdmaObject[] = [];
  const keep = <T extends RdmaObject>(object: T): T => {
    all.push(object);
    return object;
  };
  const memory = arena.reserve("packets", 2 * MIB, PAGE_BYTES);
  const pd = keep(context.allocPd());
  const mr = keep(pd.regMr(arena.address + BigInt(memory.start), memory.bytes));
  const sendCq = keep(context.createCq({ entries: 256 }));
  const sendQp = keep(context.createSendQp({ pd, cq: sendCq, wqes: 256, sges: 2 }));
  const uar = context.mapUar(arena, sendQp);
  const channel = keep(context.createCompChannel());
  const compression = { compression: "hash" } as const;
  const receiveCqs = [0, 1].map((vector) =>
    keep(context.createCq({ entries: 512, channel, vector, ...(vector === 0 ? compression : {}) })),
  );
  const armPage = context.mapArmPage(arena, receiveCqs[0]!);
  const wqs = receiveCqs.map((cq) => keep(context.createWq({ pd, cq, wrs: 512, sges: 1 })));
  const [first, second] = wqs as [(typeof wqs)[0], (typeof wqs)[0]];
  const table = keep(context.createIndirection([first, second, first, second]));
  const fields = RX_HASH.SRC_IPV4 | RX_HASH.DST_IPV4 | RX_HASH.SRC_PORT_UDP | RX_HASH.DST_PORT_UDP;
  const hashQp = keep(context.createHashQp({ pd, table, key, fields }));
  const eth = (destination: Uint8Array) => [{ kind: "eth", value: { destination } }] as const;
  const flows = [
    keep(context.createFlow(hashQp, { priority: 1, specs: eth(mac) })),
    keep(context.createFlow(hashQp, { priority: 1, dontTrap: true, specs: eth(broadcast) })),
    keep(context.createFlow(hashQp, { priority: 0, specs: [...eth(mac), ipv4, udp], tag: 7 })),
    keep(context.createFlow(hashQp, { priority: 0, specs: [...eth(mac), ipv4], drop: true })),
    keep(context.createFlow(hashQp, { priority: 0, type: "all-default" })),
    keep(context.createDvFlow({ priority: 0, specs: [...eth(mac), ipv4, tcp], action: "default-miss" })),
  ];
  const queues = { sendCq, sendQp, receiveCqs, wqs, table, hashQp };
  return { all, packets: memory.start, pd, mr, uar, channel, armPage, ...queues, flows };
}

const ipv4 = { kind: "ipv4", value: { destination: 0x0a000001 } } as const;
const udp = { kind: "udp", value: { destination: 4789 } } as const;
const tcp = { kind: "tcp", value: { destination: 22 } } as const;
