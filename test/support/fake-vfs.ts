// A physical function's driver as rtnetlink shows it, in memory; any setting can be made to fail.
import type { VfSettings } from "../../src/bus/netlink/vf.ts";
import type { VfControl } from "../../src/devices/vf-settings.ts";

export class FakeVfs implements VfControl {
  static readonly initial: VfSettings = {
    mac: "00:00:00:00:00:00",
    vlan: { id: 0, qos: 0, protocol: "802.1Q" },
    rate: { min: 0, max: 0 },
    spoofCheck: true,
    trust: false,
    linkState: "auto",
  };
  /** `VF SETTING`, of those that succeeded. */
  readonly writes: string[] = [];
  /** Returns what the driver makes of it. */
  onWrite: (one: VfSettings) => VfSettings = (one) => one;
  readonly #faults = new Map<string, Error>();
  #vfs: VfSettings[] = [];

  constructor(count: number) {
    this.reset(count);
  }

  /** As when they are made anew. */
  reset(count: number): void {
    this.#vfs = Array.from({ length: count }, () => FakeVfs.initial);
  }

  fail(key: keyof VfSettings, error: Error): void {
    this.#faults.set(key, error);
  }

  read(): Map<number, VfSettings> {
    return new Map(this.#vfs.entries());
  }

  write(_name: string, vf: number, one: VfSettings): void {
    const [key = ""] = Object.keys(one);
    const fault = this.#faults.get(key);
    if (fault) throw fault;
    this.#vfs[vf] = { ...this.#vfs[vf], ...this.onWrite(one) };
    this.writes.push(`${vf} ${key}`);
  }
}
