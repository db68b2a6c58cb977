// The mailbox by which a virtual function asks its physical function (PF) for what it may not do itself: 16 words that
// both may write, and one register of flags each (82576 datasheet, chapter 7, "VF to PF mailbox"). The messages are
// those of the kernel's PF driver, igb.
//
//   request: VFU (the buffer is ours) → words → REQ → PFACK (the PF read it) → PFSTS (it answers) → VFU → words → ACK
//
// The PF may write of its own accord at any time (PF_CONTROL), and a reset of the PF shows as RSTI and RSTD. Some of
// the flags are cleared by reading, so they are kept here until they are asked for.
import { setTimeout as sleep } from "node:timers/promises";
import { PollmodeError } from "../../src/errors.ts";
import { type Registers, waitFor } from "./registers-io.ts";
import {
  MESSAGE_ACK,
  MULTICAST_HASHES_MAX,
  V2pMailbox,
  VfMessage,
  VfReg,
  VMBMEM_WORDS,
} from "./vf-registers.ts";

/** Whom errors speak of. */
export interface VfNames {
  /** The VF: `0000:01:10.0`. */
  readonly vf: string;
  /** The PF: its network interface, or its PCI address. "PF" where it cannot be seen, as in a guest. */
  readonly pf: string;
  /** The VF's number within its PF. "N" where it is not known. */
  readonly index: number | "N";
  /** What brings the PF up. */
  readonly mend: string;
}

/** What happened at the PF since the last look. */
export interface PfNews {
  /** The PF is in reset or down: the mailbox is of no use. */
  readonly away: boolean;
  /** The PF has forgotten this VF: it was reset since, and waits for the VF's RESET. */
  readonly forgot: boolean;
}

/** The PF takes microseconds; a PF without a driver never answers (the kernel's VF driver waits for 1 s, too). */
const ANSWER_TIMEOUT_MS = 1000;
/** The first polls come one after the other, the others this far apart. */
const POLL_INTERVAL_MS = 1;
const EAGER_POLLS = 50;
/** The PF pings its VFs when its link changes, and may so write over a request or its answer: it is asked again. */
const ATTEMPTS = 4;
const CROSSED_TIMEOUT_MS = 50;

/** A 12-bit hash of a multicast address, as MTA of the PF takes it with RCTL.MO = 0 (82576 datasheet, 8.10.15). */
export function multicastHash(mac: Uint8Array): number {
  return ((mac[4]! >>> 4) | (mac[5]! << 4)) & 0xfff;
}

export class VfMailbox {
  private readonly registers: Registers;
  readonly names: VfNames;
  private readonly timeoutMs: number;
  /** Flags that reading has cleared in the register, not asked for yet. */
  private seen = 0;
  /** RSTI, as it was read last. */
  private away = false;
  private forgot = false;
  /** A request is under way: the PF's next message is its answer, nobody else's. */
  private asking = false;
  /** One request at a time. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(registers: Registers, names: VfNames, timeoutMs = ANSWER_TIMEOUT_MS) {
    this.registers = registers;
    this.names = names;
    this.timeoutMs = timeoutMs;
  }

  /**
   * Tells the PF that the VF has reset itself, after VTCTRL.RST: the PF lets it send and receive. Gives the MAC address
   * that the PF's administrator has set, undefined if none has. Errors: VF_PF_DOWN, VF_MAILBOX_TIMEOUT.
   */
  async reset(): Promise<Uint8Array | undefined> {
    const back = () => (this.flags() & V2pMailbox.RSTI) === 0;
    if (!(await waitFor(back, this.timeoutMs)))
      throw this.pfDown("is down, or has not come out of its reset");
    this.seen = 0; // of the time before
    this.forgot = false;
    const reply = await this.exchange([VfMessage.RESET], 3);
    this.forgot = false; // a ping may have come in between
    const mac = new Uint8Array(reply.buffer, 4, 6).slice();
    return isAcked(reply) && mac.some((byte) => byte !== 0) ? mac : undefined;
  }

  async setMac(mac: Uint8Array): Promise<void> {
    if (await this.ask([VfMessage.SET_MAC_ADDR, ...macWords(mac)])) return;
    const { pf, index } = this.names;
    const set = `ip link set ${pf} vf ${index} mac ${formatMac(mac)}`;
    throw this.refused(`MAC address ${formatMac(mac)}`, `${set}, or ip link set ${pf} vf ${index} trust on`);
  }

  /** A further unicast address; the PF has about 20 for all its VFs. */
  async addMac(mac: Uint8Array): Promise<void> {
    if (await this.ask([VfMessage.SET_MAC_ADDR | VfMessage.MAC_FILTER_ADD, ...macWords(mac)])) return;
    const fix = `ip link set ${this.names.pf} vf ${this.names.index} trust on; if it is, the PF's filters are full`;
    throw this.refused(`further MAC address ${formatMac(mac)}`, fix);
  }

  /**
   * Takes all further unicast addresses away. Its own is sent with it: igb looks whether the address is valid first.
   */
  async clearMacs(own: Uint8Array): Promise<void> {
    if (await this.ask([VfMessage.SET_MAC_ADDR | VfMessage.MAC_FILTER_CLR, ...macWords(own)])) return;
    throw this.refused("end of its further MAC addresses", this.updatePf());
  }

  /** The groups that are received. More than 30: the PF lets all multicast in. */
  async setMulticast(macs: readonly Uint8Array[]): Promise<void> {
    const hashes = new Uint16Array(2 * (VMBMEM_WORDS - 1));
    const count = Math.min(macs.length, MULTICAST_HASHES_MAX);
    for (let k = 0; k < count; k++) hashes[k] = multicastHash(macs[k]!);
    const overflow = macs.length > MULTICAST_HASHES_MAX ? VfMessage.MULTICAST_OVERFLOW : 0;
    const word = VfMessage.SET_MULTICAST | (count << VfMessage.INFO_SHIFT) | overflow;
    if (await this.ask([word, ...new Uint32Array(hashes.buffer)])) return;
    throw this.refused(`${macs.length} multicast groups`, this.updatePf());
  }

  async setVlan(vlan: number, on: boolean): Promise<void> {
    if (await this.ask([VfMessage.SET_VLAN | (on ? VfMessage.VLAN_ADD : 0), vlan])) return;
    const { pf, index } = this.names;
    const fix = `ip link set ${pf} vf ${index} vlan 0, if a VLAN is set there; the PF's 32 VLANs may be in use`;
    throw this.refused(`VLAN ${vlan}`, fix);
  }

  /** Largest frame that the VF receives, bytes with CRC and VLAN tag. */
  async setMaxFrame(bytes: number): Promise<void> {
    if (await this.ask([VfMessage.SET_LPE, bytes])) return;
    throw this.refused(`frames of ${bytes} bytes`, "set a smaller MTU");
  }

  /** Receives beyond its own addresses. The kernel's igb grants multicast, and unicast never. */
  async setPromiscuous(on: { unicast: boolean; multicast: boolean }): Promise<void> {
    const unicast = on.unicast ? VfMessage.PROMISC_UNICAST : 0;
    const multicast = on.multicast ? VfMessage.PROMISC_MULTICAST : 0;
    if (await this.ask([VfMessage.SET_PROMISC | unicast | multicast])) return;
    if (!on.unicast) throw this.refused("all multicast", this.updatePf());
    const fix =
      "use the PF itself, or name the addresses with addMac: igb grants its VFs no promiscuous mode";
    throw this.refused("promiscuous mode", fix);
  }

  /** What the PF did of its own accord. Never waits. */
  look(): PfNews {
    if (this.take(V2pMailbox.RSTD)) this.forgot = true;
    if (!this.asking && (this.seen & V2pMailbox.PFSTS) !== 0 && this.own()) {
      this.take(V2pMailbox.PFSTS);
      this.notice(this.readWords(1)[0]!);
    }
    return { away: this.away, forgot: this.forgot };
  }

  /** The PF's message without a request: where CTS is missing, the PF was reset and no longer knows the VF. */
  private notice(word: number): void {
    const control = (word & VfMessage.TYPE_MASK) === VfMessage.PF_CONTROL;
    if (control && (word & VfMessage.CTS) === 0) this.forgot = true;
  }

  /** A request; true if the PF granted it, false if it refused. */
  private async ask(words: readonly number[]): Promise<boolean> {
    const reply = await this.exchange(words, 1);
    if (isAcked(reply)) return true;
    if ((reply[0]! & VfMessage.CTS) !== 0) return false;
    this.forgot = true;
    throw this.pfForgot();
  }

  private exchange(words: readonly number[], replyWords: number): Promise<Uint32Array> {
    const next = this.turn.then(async () => {
      this.asking = true;
      try {
        for (let k = 0; k < ATTEMPTS; k++) {
          const reply = await this.attempt(words, replyWords);
          if (reply) return reply;
        }
        throw this.timeout("does not answer");
      } finally {
        this.asking = false;
      }
    });
    this.turn = next.catch(() => {});
    return next;
  }

  /** Sends a request and waits for its answer. Undefined: a message of the PF's own accord has taken its place. */
  private async attempt(words: readonly number[], replyWords: number): Promise<Uint32Array | undefined> {
    await this.send(words);
    const type = words[0]! & VfMessage.TYPE_MASK;
    for (let crossed = false; ; crossed = true) {
      const came = await this.until(
        () => this.take(V2pMailbox.PFSTS),
        crossed ? CROSSED_TIMEOUT_MS : this.timeoutMs,
      );
      if (!came && crossed) return undefined;
      if (!came) throw this.timeout("does not answer");
      if (!(await this.until(() => this.own()))) throw this.timeout("keeps the mailbox to itself");
      const reply = this.readWords(replyWords);
      if ((reply[0]! & VfMessage.TYPE_MASK) === type) return reply;
      this.notice(reply[0]!);
      if (this.forgot && type !== VfMessage.RESET) throw this.pfForgot();
    }
  }

  /** The PF's own message may also wipe the request out before it is read: then it comes instead of PFACK. */
  private async send(words: readonly number[]): Promise<void> {
    if (!(await this.until(() => this.own())) || this.away) throw this.timeout("keeps the mailbox to itself");
    if (this.take(V2pMailbox.PFSTS)) this.notice(this.registers.read(VfReg.VMBMEM)); // it is written over
    this.take(V2pMailbox.PFACK);
    words.forEach((word, k) => {
      this.registers.write(VfReg.VMBMEM + 4 * k, word >>> 0);
    });
    this.registers.write(VfReg.V2PMAILBOX, V2pMailbox.REQ); // and VFU given back
    const heard = () => this.take(V2pMailbox.PFACK) || (this.seen & V2pMailbox.PFSTS) !== 0;
    if (!(await this.until(heard))) throw this.timeout("does not read the mailbox");
  }

  /** Reads a message in a mailbox that is ours, and gives it back. */
  private readWords(count: number): Uint32Array {
    const words = Uint32Array.from({ length: count }, (_, k) => this.registers.read(VfReg.VMBMEM + 4 * k));
    this.registers.write(VfReg.V2PMAILBOX, V2pMailbox.ACK);
    return words;
  }

  /** Takes the buffer; false while the PF has it. */
  private own(): boolean {
    this.registers.write(VfReg.V2PMAILBOX, V2pMailbox.VFU);
    return (this.flags() & V2pMailbox.VFU) !== 0;
  }

  private flags(): number {
    const flags = this.registers.read(VfReg.V2PMAILBOX);
    this.away = (flags & V2pMailbox.RSTI) !== 0;
    this.seen |= flags & V2pMailbox.CLEARED_BY_READING;
    return flags;
  }

  /** Whether a flag was set since it was taken last. */
  private take(flag: number): boolean {
    this.flags();
    const found = (this.seen & flag) !== 0;
    this.seen &= ~flag;
    return found;
  }

  /** Waits for a condition; false if it does not hold in time. A PF that goes into reset ends the wait, too. */
  private async until(holds: () => boolean, timeoutMs = this.timeoutMs): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (let polls = 0; !holds(); polls++) {
      if (performance.now() >= deadline || this.away) return false;
      if (polls < EAGER_POLLS) await new Promise(setImmediate);
      else await sleep(POLL_INTERVAL_MS);
    }
    return true;
  }

  private timeout(what: string): PollmodeError {
    if (this.away) return this.pfDown("is down, or being reset");
    const { vf, pf, mend } = this.names;
    const message = `${vf}: its physical function ${pf} ${what} (${this.timeoutMs} ms)`;
    return new PollmodeError("VF_MAILBOX_TIMEOUT", message, mend);
  }

  private pfForgot(): PollmodeError {
    return this.pfDown("was reset and has not taken this VF back yet");
  }

  private pfDown(what: string): PollmodeError {
    const { vf, pf, mend } = this.names;
    return new PollmodeError("VF_PF_DOWN", `${vf}: its physical function ${pf} ${what}`, mend);
  }

  private refused(what: string, fix: string): PollmodeError {
    const { vf, pf, index } = this.names;
    return new PollmodeError("VF_REFUSED", `${vf}: ${pf} refuses its VF ${index} the ${what}`, fix);
  }

  private updatePf(): string {
    return "use a PF driver that knows this request: the kernel's igb does since Linux 4.16";
  }
}

function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function isAcked(reply: Uint32Array): boolean {
  return (reply[0]! & MESSAGE_ACK) !== 0;
}

/** An address as two words, first byte lowest. */
function macWords(mac: Uint8Array): [number, number] {
  const bytes = new Uint8Array(8);
  bytes.set(mac);
  const [low, high] = new Uint32Array(bytes.buffer);
  return [low!, high!];
}
