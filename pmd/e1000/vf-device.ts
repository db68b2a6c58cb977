// A virtual function of the 82576 or the I350: queues of its own, all else by leave of its physical function (PF),
// which the kernel's igb drives, or a program.
//
//   probe  -> VTCTRL.RST, RESET through the mailbox: the address
//   start  -> the same again, settings told to the PF, rings, link
//   PF gone (RSTI) or reset (RSTD, no CTS): link down, queues halted, mbufs back to the pool; when it is back, as start
import type { InterruptLine, PciFunction } from "../../src/bus/pci-function.ts";
import { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  DeviceInfo,
  DeviceStats,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { VfMailbox, type VfNames } from "./mailbox.ts";
import { Status } from "./registers.ts";
import { ALL_ONES, type Registers } from "./registers-io.ts";
import type { VfQueues } from "./vf-queues.ts";
import { VfReg, VTCTRL_RST } from "./vf-registers.ts";
import { VfSettings } from "./vf-settings.ts";
import { VfStats } from "./vf-stats.ts";

/** How often the PF and the link are looked at, and that a counter does not wrap twice unseen. */
const WATCH_INTERVAL_MS = 100;

export interface VfParts {
  readonly fn: PciFunction;
  readonly registers: Registers;
  readonly names: VfNames;
  readonly info: DeviceInfo;
  readonly queues: VfQueues;
}

export class VfDevice implements EthDevice {
  readonly info: DeviceInfo;
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly parts: VfParts;
  private readonly mailbox: VfMailbox;
  private readonly settings: VfSettings;
  private readonly counters: VfStats;
  /** The PF knows this VF, and the rings run. */
  private attached = false;
  private started = false;
  private lost = false;
  private reported: LinkStatus = { up: false, speed: 0, duplex: "full" };
  private pfResets = 0;
  private watch: NodeJS.Timeout | undefined;
  /** Start, stop, and what happens to the PF happen in turn. */
  private turn: Promise<void> = Promise.resolve();

  private constructor(parts: VfParts, context: DriverContext, events: DeviceEvents) {
    this.parts = parts;
    this.info = parts.info;
    this.context = context;
    this.events = events;
    this.mailbox = new VfMailbox(parts.registers, parts.names);
    this.settings = new VfSettings(this.mailbox);
    this.counters = new VfStats(parts.registers, parts.info.rxQueuesMax);
  }

  /** Asks the PF for the address, so that a PF that is down or silent is an error of the start. */
  static async probe(parts: VfParts, context: DriverContext, events: DeviceEvents): Promise<VfDevice> {
    const device = new VfDevice(parts, context, events);
    const [refused] = await device.register();
    if (refused) throw refused;
    return device;
  }

  get mac(): Uint8Array {
    return this.settings.mac;
  }
  get rxQueues(): readonly number[] {
    return this.parts.queues.rxOffsets;
  }
  get txQueues(): readonly number[] {
    return this.parts.queues.txOffsets;
  }

  async configure(config: DeviceConfig): Promise<void> {
    this.parts.queues.configure(config);
  }

  async start(): Promise<void> {
    await this.inTurn(async () => {
      const [refused] = await this.attach();
      if (refused) {
        await this.detach();
        throw refused;
      }
      this.started = true;
      this.reportLink();
      this.watch = setInterval(() => this.look(), WATCH_INTERVAL_MS).unref();
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.watch);
    await this.inTurn(async () => {
      this.started = false;
      await this.detach();
    });
  }

  async close(): Promise<void> {
    await this.inTurn(async () => {
      this.parts.registers.write(VfReg.VTCTRL, VTCTRL_RST);
      this.parts.queues.free();
      this.parts.fn.close();
    });
  }

  /** VTSTATUS is the PF's, whose link may be up while it does not serve this VF. */
  link(): LinkStatus {
    const status = this.parts.registers.read(VfReg.VTSTATUS);
    const up = this.attached && status !== ALL_ONES && (status & Status.LU) !== 0;
    const speed = status & Status.SPEED_1000 ? 1000 : status & Status.SPEED_100 ? 100 : 10;
    return { up, speed: up ? speed : 0, duplex: status & Status.FD ? "full" : "half" };
  }

  stats(): DeviceStats {
    return { rxMissed: this.count().RQDPC!, rxErrors: 0, txErrors: 0 };
  }
  xstats(): Record<string, number> {
    return { ...this.count(), pf_resets: this.pfResets };
  }
  clearStats(): void {
    this.count();
    this.counters.clear();
    this.pfResets = 0;
  }

  /** While the PF is being reset its registers mean nothing: totals stay as they were. */
  private count(): Record<string, number> {
    const { away, forgot } = this.mailbox.look();
    if (!away && !forgot) this.counters.update();
    return this.counters.values;
  }

  setMac(mac: Uint8Array): Promise<void> {
    return this.settings.setMac(mac);
  }
  addMac(mac: Uint8Array): Promise<void> {
    return this.settings.addMac(mac);
  }
  removeMac(mac: Uint8Array): Promise<void> {
    return this.settings.removeMac(mac);
  }
  setMulticast(macs: readonly Uint8Array[]): Promise<void> {
    return this.settings.setMulticast(macs);
  }
  setAllMulticast(on: boolean): Promise<void> {
    return this.settings.setAllMulticast(on);
  }
  setPromiscuous(on: boolean): Promise<void> {
    return this.settings.setPromiscuous(on);
  }
  setMtu(mtu: number): Promise<void> {
    return this.settings.setMtu(mtu);
  }
  async setVlan(vlan: number, on: boolean): Promise<void> {
    await this.settings.setVlan(vlan, on);
    if (on) this.parts.queues.expectTags();
  }

  /** The PF filters VLANs for all its VFs; a VF cannot have that turned off. */
  async setVlanFilter(on: boolean): Promise<void> {
    if (on) return;
    const { vf, pf } = this.parts.names;
    const message = `${vf}: its physical function ${pf} filters VLANs, always`;
    throw new PollmodeError("NOT_SUPPORTED", message, "let each VLAN in by setVlan");
  }

  rxInterrupt(queue: number): InterruptLine {
    return this.parts.queues.rxInterrupt(queue);
  }

  /** Resets the VF, makes itself known to the PF and tells it all settings. Returns what the PF refused. */
  private async register(): Promise<PollmodeError[]> {
    this.parts.registers.write(VfReg.VTCTRL, VTCTRL_RST);
    const given = await this.mailbox.reset();
    this.counters.restart();
    return this.settings.restore(given);
  }

  private async attach(): Promise<PollmodeError[]> {
    const refused = await this.register();
    this.parts.queues.start();
    this.attached = true;
    return refused;
  }

  /** Halts the queues, waits until neither an lcore nor the VF is at work in them, and takes all mbufs back. */
  private async detach(): Promise<void> {
    this.attached = false;
    const { queues } = this.parts;
    queues.halt();
    this.reportLink();
    await this.context.quiesce();
    await queues.disable();
    queues.drain();
  }

  private look(): void {
    const { away, forgot } = this.mailbox.look();
    if (this.attached && (away || forgot)) {
      this.attached = false; // so that the next look does not come here again
      void this.inTurn(() => this.leave()).catch((error: Error) => this.events.error(error));
    } else if (!this.attached && !away) {
      void this.inTurn(() => this.returnTo());
    } else {
      this.checkPresence();
      this.count();
    }
    this.reportLink();
  }

  private async leave(): Promise<void> {
    this.pfResets++;
    await this.detach();
  }

  /** A PF that is not ready yet is asked again at the next look. */
  private async returnTo(): Promise<void> {
    if (!this.started || this.attached) return;
    try {
      const refused = await this.attach();
      for (const error of refused) this.events.error(error);
      this.reportLink();
    } catch (error) {
      const notReady = ["VF_PF_DOWN", "VF_MAILBOX_TIMEOUT"];
      if (error instanceof PollmodeError && notReady.includes(error.code)) return;
      this.events.error(error as Error);
    }
  }

  /** A VF that was removed reads as ones. Said once. */
  private checkPresence(): void {
    if (this.lost || this.parts.registers.read(VfReg.VTSTATUS) !== ALL_ONES) return;
    this.lost = true;
    const { vf, pf } = this.parts.names;
    const message = `${vf} does not answer any more: ${pf} has taken it away`;
    const fix = `close the port; pollmode sriov create ${pf} --count 1, as root of the host, makes a VF again`;
    this.events.error(new PollmodeError("DEVICE_LOST", message, fix));
  }

  private reportLink(): void {
    const now = this.link();
    if (now.up === this.reported.up && now.speed === this.reported.speed) return;
    this.reported = now;
    this.events.link(now);
  }

  private inTurn(work: () => Promise<void>): Promise<void> {
    const next = this.turn.then(work);
    this.turn = next.catch(() => {});
    return next;
  }
}
