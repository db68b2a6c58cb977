// What the device tells: links, and its own end.
import koffi from "koffi";
import type { RdmaEvent } from "../../../../src/bus/rdma/types.ts";
import { addressOf } from "../../../../src/libc/libc.ts";
import { Poller } from "../../../../src/libc/poller.ts";
import { Bench, build, control } from "./device.ts";
import { errorOf } from "./failures.ts";

const WAIT_MS = 3000;

/** Collects a device's events. */
class Ear {
  readonly heard: RdmaEvent[] = [];
  readonly poller = new Poller((error) => {
    throw error;
  });
  private wake: (() => void) | undefined;

  constructor(bench: Bench) {
    bench.context.onAsyncEvent(this.poller, (event) => {
      this.heard.push(event);
      this.wake?.();
    });
  }

  /** When so many have been heard. */
  async hear(count: number): Promise<void> {
    const end = Date.now() + WAIT_MS;
    while (this.heard.length < count) {
      const left = end - Date.now();
      if (left <= 0) throw new Error(`${this.heard.length} events of ${count} after ${WAIT_MS} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

export async function events() {
  const bench = new Bench();
  build(bench);
  const ear = new Ear(bench);
  const states = [bench.context.queryPort()];
  for (const [count, state] of ["down", "up"].entries()) {
    await control(`link 0 ${state}`);
    await ear.hear(count + 1);
    states.push(bench.context.queryPort());
  }
  const { rings } = bench.close();
  ear.poller.close();
  return { heard: ear.heard, states, rings };
}

// struct ibv_send_wr, struct ibv_sge (infiniband/verbs.h)
const SEND_WR = { bytes: 128, sgList: 16, numSge: 24, opcode: 28 } as const;
const SGE = { bytes: 16, length: 8, lkey: 12 } as const;
const IBV_WR_SEND = 2;
const postSend = koffi.proto("int", ["void *", "void *", "void *"]);

/** A queue breaks down: the event names it, and does not stand in the way when it is destroyed. */
export async function brokenQueue() {
  const bench = new Bench();
  const { context, arena } = bench;
  const { sendQp, sendCq, mr, packets } = build(bench);
  const ear = new Ear(bench);
  await control("cq-error 0 tx");
  const request = Buffer.alloc(SEND_WR.bytes + SGE.bytes);
  request.writeBigUInt64LE(addressOf(request) + BigInt(SEND_WR.bytes), SEND_WR.sgList);
  request.writeInt32LE(1, SEND_WR.numSge);
  request.writeInt32LE(IBV_WR_SEND, SEND_WR.opcode);
  request.writeUInt32LE(2, SEND_WR.opcode + 4); // IBV_SEND_SIGNALED
  const segment = request.subarray(SEND_WR.bytes);
  segment.writeBigUInt64LE(arena.address + BigInt(packets), 0);
  segment.writeUInt32LE(64, SGE.length);
  segment.writeUInt32LE(mr.lkey, SGE.lkey);
  const sent = koffi.call(context.calls.postSend, postSend, sendQp.handle, request, Buffer.alloc(8));
  await ear.hear(1);
  const object = ear.heard[0]!.object === sendCq.handle;
  sendQp.destroy();
  sendCq.destroy();
  const { rings } = bench.close();
  ear.poller.close();
  return { sent, type: ear.heard[0]!.type, object, rings };
}

/** The device goes away under its objects: calls fail by name, destroying and closing work. */
export async function fatal() {
  const bench = new Bench();
  const { sendQp, flows, pd } = build(bench);
  const ear = new Ear(bench);
  await control("fatal 0");
  await ear.hear(1);
  const { context } = bench;
  const errors = {
    create: errorOf(() => context.createCq({ entries: 64 })).code,
    register: errorOf(() => pd.regMr(bench.arena.address, 65536)).code,
    query: errorOf(() => context.queryPort()).code,
    destroy: errorOf(() => {
      flows[0]!.destroy();
      sendQp.destroy();
    }).code,
  };
  const left = bench.close();
  ear.poller.close();
  const opened = errorOf(() => new Bench());
  return { heard: ear.heard, errors, rings: left.rings, opened };
}
