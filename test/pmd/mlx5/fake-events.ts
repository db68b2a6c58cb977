// A completion channel behind libibverbs' functions, in JavaScript: how many events wait in it, what was acknowledged,
// how often its completion queue was armed.
import koffi from "koffi";
import type { EventAttachment } from "../../../pmd/mlx5/events.ts";

const CHANNEL = 0x7f00_0000_5000n;
/** As RX_CQ of fake-verbs.ts. */
const CQ = 0x7f00_0000_1000n;

const get = koffi.pointer(koffi.proto("int", ["int64_t", "int64_t", "int64_t"]));
const two = koffi.pointer(koffi.proto("int", ["int64_t", "int"]));

export class FakeEvents {
  waiting = 0;
  acknowledged = 0;
  armed = 0;
  /** What req_notify_cq returns. */
  notifyAnswer = 0;
  /** What was asked for that a library would not do. */
  readonly faults: string[] = [];
  private readonly registered: bigint[] = [];

  get attachment(): EventAttachment {
    const calls = {
      getCqEvent: this.register((channel) => this.getCqEvent(channel), get),
      ackCqEvents: this.register((cq, n) => this.expect(cq, CQ) + this.count(n), two),
      notifyCq: this.register((cq, solicited) => this.notify(cq, solicited), two),
    };
    return { channel: { handle: CHANNEL }, cq: { handle: CQ }, calls };
  }

  close(): void {
    for (const pointer of this.registered.splice(0)) koffi.unregister(pointer);
  }

  private register(call: (...values: bigint[]) => number, type: typeof get): bigint {
    const pointer = koffi.register((...values: (number | bigint)[]) => call(...values.map(BigInt)), type);
    this.registered.push(pointer);
    return pointer;
  }

  private expect(object: bigint, wanted: bigint): number {
    if (object !== wanted) this.faults.push(`0x${object.toString(16)}, not 0x${wanted.toString(16)}`);
    return 0;
  }

  private count(events: bigint): number {
    this.acknowledged += Number(events);
    return 0;
  }

  private getCqEvent(channel: bigint): number {
    this.expect(channel, CHANNEL);
    if (this.waiting === 0) return -1;
    this.waiting--;
    return 0;
  }

  private notify(cq: bigint, solicited: bigint): number {
    this.expect(cq, CQ);
    this.expect(solicited, 0n);
    this.armed++;
    return this.notifyAnswer;
  }
}
