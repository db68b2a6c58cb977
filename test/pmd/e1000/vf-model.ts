// A model of a virtual function's mailbox and of the PF driver behind it, as igb behaves: it knows a VF from its RESET
// on (CTS), grants or refuses, may be silent, deaf, slow, in reset, and may write of its own accord.
import {
  MESSAGE_ACK,
  V2pMailbox,
  VfMessage,
  VfReg,
  VMBMEM_WORDS,
  VTCTRL_RST,
} from "../../../pmd/e1000/vf-registers.ts";

/** answers: grants what it can; refuses: NACK to all but RESET; silent: reads, never answers; deaf: never reads. */
export type PfMood = "answers" | "refuses" | "silent" | "deaf";

const PFU = V2pMailbox.PFU as number;

export class VfModel {
  mood: PfMood = "answers";
  /** Set by the administrator: `ip link set PF vf 0 mac …`. Undefined: RESET is NACKed, as igb does. */
  adminMac: Uint8Array | undefined;
  /** The PF acts after so many reads of V2PMAILBOX. */
  slowness = 3;
  /** Once: the PF's ping wipes out the next request, or its answer. */
  wipe: "request" | "answer" | undefined;
  /** Messages that the PF has taken, all 16 words of each. */
  readonly taken: number[][] = [];
  /** Whether the PF lets the VF send (CTS, VFTE, VFRE). */
  clearToSend = false;
  resets = 0;
  /** The VF was removed: nothing answers. */
  gone = false;
  /** Other registers. */
  readonly values = new Map<number, number>();
  private flags: number = V2pMailbox.RSTD;
  private readonly memory = new Uint32Array(VMBMEM_WORDS);
  private readonly due: { after: number; act: () => void }[] = [];

  read(offset: number): number {
    if (this.gone) return 0xffff_ffff;
    if (offset === VfReg.V2PMAILBOX) return this.readFlags();
    const word = this.memoryWord(offset);
    return word === undefined ? (this.values.get(offset) ?? 0) : this.memory[word]!;
  }

  write(offset: number, value: number): void {
    if (this.gone) return;
    const word = this.memoryWord(offset);
    if (word !== undefined) {
      if ((this.flags & V2pMailbox.VFU) === 0) throw new Error("the mailbox is written without owning it");
      this.memory[word] = value;
    } else if (offset === VfReg.V2PMAILBOX) this.writeFlags(value);
    else if (offset === VfReg.VTCTRL && (value & VTCTRL_RST) !== 0) this.resetFunction();
    else this.values.set(offset, value >>> 0);
  }

  /** The PF's driver goes down: RSTI until it is back. */
  pfDown(): void {
    this.flags = (this.flags & ~V2pMailbox.VFU) | V2pMailbox.RSTI;
    this.clearToSend = false;
    this.due.length = 0;
  }

  pfUp(): void {
    this.flags = (this.flags & ~V2pMailbox.RSTI) | V2pMailbox.RSTD;
  }

  /** igb's ping: link or state has changed. */
  ping(): void {
    this.memory[0] = VfMessage.PF_CONTROL | (this.clearToSend ? VfMessage.CTS : 0);
    this.flags |= V2pMailbox.PFSTS;
  }

  /** The PF holds the buffer for so many reads of V2PMAILBOX. */
  hold(reads: number): void {
    this.flags |= PFU;
    this.later(reads, () => {
      this.flags &= ~PFU;
    });
  }

  get owned(): boolean {
    return (this.flags & V2pMailbox.VFU) !== 0;
  }

  private memoryWord(offset: number): number | undefined {
    const word = (offset - VfReg.VMBMEM) / 4;
    return word >= 0 && word < VMBMEM_WORDS ? word : undefined;
  }

  private readFlags(): number {
    for (const one of this.due) one.after--;
    while (this.due[0] && this.due[0].after <= 0) this.due.shift()!.act();
    const flags = this.flags;
    this.flags &= ~V2pMailbox.CLEARED_BY_READING;
    return flags;
  }

  private writeFlags(value: number): void {
    if ((value & V2pMailbox.VFU) === 0) this.flags &= ~V2pMailbox.VFU;
    else if ((this.flags & PFU) === 0) this.flags |= V2pMailbox.VFU;
    const isHeard = this.mood !== "deaf" && (this.flags & V2pMailbox.RSTI) === 0;
    if ((value & V2pMailbox.REQ) !== 0 && isHeard) this.later(this.slowness, () => this.serve());
  }

  private later(reads: number, act: () => void): void {
    this.due.push({ after: reads, act });
  }

  private resetFunction(): void {
    this.resets++;
    this.clearToSend = false;
  }

  private wipes(what: "request" | "answer"): boolean {
    if (this.wipe !== what) return false;
    this.wipe = undefined;
    this.ping();
    return true;
  }

  /** The PF reads the message, and answers it a while later. */
  private serve(): void {
    if (this.wipes("request")) return;
    const message = [...this.memory];
    this.taken.push(message);
    this.flags |= V2pMailbox.PFACK;
    if (this.mood === "silent") return;
    this.later(this.slowness, () => this.answer(message));
  }

  private answer([word = 0]: number[]): void {
    if (this.wipes("answer")) return;
    if ((word & VfMessage.TYPE_MASK) === VfMessage.RESET) {
      this.clearToSend = true;
      const mac = Buffer.alloc(8);
      mac.set(this.adminMac ?? []);
      this.memory[0] = VfMessage.RESET | (this.adminMac ? MESSAGE_ACK : VfMessage.NACK);
      this.memory[1] = mac.readUInt32LE(0);
      this.memory[2] = mac.readUInt32LE(4);
    } else {
      const granted = this.clearToSend && this.mood === "answers" && !asksForUnicastPromiscuity(word);
      this.memory[0] =
        (word | (this.clearToSend ? VfMessage.CTS : 0) | (granted ? MESSAGE_ACK : VfMessage.NACK)) >>> 0;
    }
    this.flags |= V2pMailbox.PFSTS;
  }
}

function asksForUnicastPromiscuity(word: number): boolean {
  const promiscuous = (word & VfMessage.TYPE_MASK) === VfMessage.SET_PROMISC;
  return promiscuous && (word & VfMessage.PROMISC_UNICAST) !== 0;
}
