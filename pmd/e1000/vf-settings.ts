// What a virtual function's user has asked of its PF: kept, because the PF forgets all of it whenever the VF or the PF
// is reset, and told again then.
import { PollmodeError } from "../../src/errors.ts";
import { requireStation } from "../../src/ethdev/station.ts";
import type { VfMailbox } from "./mailbox.ts";

const MTU_DEFAULT = 1500;
const MTU_MIN = 68;
const MTU_MAX = 9000;
/** Ethernet header and a VLAN tag; a CRC. */
const HEADER_BYTES = 14 + 4;
const CRC_BYTES = 4;

export const VF_FRAME_BYTES_MAX = MTU_MAX + HEADER_BYTES;

export class VfSettings {
  /** The VF's own address; after the first `restore`. */
  mac: Uint8Array = new Uint8Array(6);
  private readonly mailbox: VfMailbox;
  /** The address is ours, by setMac or by chance: the PF has to be told. Else it is the PF administrator's. */
  private macIsOurs = false;
  private macs: readonly Uint8Array[] = [];
  private multicast: readonly Uint8Array[] = [];
  private readonly vlans = new Set<number>();
  private mtu = MTU_DEFAULT;
  private promiscuous = false;
  private allMulticast = false;

  constructor(mailbox: VfMailbox) {
    this.mailbox = mailbox;
  }

  /**
   * Tells the PF everything, after RESET, which gave the address its administrator has set, if any. Returns what the PF
   * refused; what else goes wrong is thrown.
   */
  async restore(given: Uint8Array | undefined): Promise<PollmodeError[]> {
    const refused: PollmodeError[] = [];
    const tell = async (request: Promise<void>, otherwise: () => void) => {
      try {
        await request;
      } catch (error) {
        if (!isRefusal(error)) throw error;
        refused.push(error);
        otherwise();
      }
    };
    const { mailbox } = this;
    if (!this.macIsOurs) {
      this.mac = given ?? randomMac();
      this.macIsOurs = given === undefined;
    }
    if (!given || !sameMac(given, this.mac)) {
      await tell(mailbox.setMac(this.mac), () => {
        this.mac = given ?? this.mac;
        this.macIsOurs = given === undefined;
      });
    }
    await tell(mailbox.setMaxFrame(this.mtu + HEADER_BYTES + CRC_BYTES), () => {});
    for (const mac of this.macs) {
      await tell(mailbox.addMac(mac), () => {
        this.macs = this.macs.filter((one) => one !== mac);
      });
    }
    if (this.multicast.length > 0) await tell(mailbox.setMulticast(this.multicast), () => {});
    for (const vlan of this.vlans) await tell(mailbox.setVlan(vlan, true), () => this.vlans.delete(vlan));
    if (this.promiscuous || this.allMulticast) await tell(this.tellPromiscuous(), () => {});
    return refused;
  }

  async setMac(mac: Uint8Array): Promise<void> {
    requireStation(this.mailbox.names.vf, mac);
    await this.mailbox.setMac(mac);
    this.mac = mac.slice();
    this.macIsOurs = true;
  }

  async addMac(mac: Uint8Array): Promise<void> {
    requireStation(this.mailbox.names.vf, mac);
    if (this.macs.some((one) => sameMac(one, mac))) return;
    await this.mailbox.addMac(mac);
    this.macs = [...this.macs, mac.slice()];
  }

  /** The PF knows how to take all away, not one. */
  async removeMac(mac: Uint8Array): Promise<void> {
    const left = this.macs.filter((one) => !sameMac(one, mac));
    if (left.length === this.macs.length) return;
    await this.mailbox.clearMacs(this.mac);
    this.macs = [];
    for (const one of left) await this.addMac(one);
  }

  async setMulticast(macs: readonly Uint8Array[]): Promise<void> {
    await this.mailbox.setMulticast(macs);
    this.multicast = macs.map((mac) => mac.slice());
  }

  async setVlan(vlan: number, on: boolean): Promise<void> {
    await this.mailbox.setVlan(vlan, on);
    if (on) this.vlans.add(vlan);
    else this.vlans.delete(vlan);
  }

  async setMtu(mtu: number): Promise<void> {
    if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > MTU_MAX) {
      const message = `${this.mailbox.names.vf}: MTU ${mtu}`;
      throw new PollmodeError("MTU", message, `choose one between ${MTU_MIN} and ${MTU_MAX}`);
    }
    await this.mailbox.setMaxFrame(mtu + HEADER_BYTES + CRC_BYTES);
    this.mtu = mtu;
  }

  async setPromiscuous(on: boolean): Promise<void> {
    await this.changeReach(() => {
      this.promiscuous = on;
    });
  }

  async setAllMulticast(on: boolean): Promise<void> {
    await this.changeReach(() => {
      this.allMulticast = on;
    });
  }

  /** A refused request has undone what was granted before (igb clears, then looks), so that is asked for again. */
  private async changeReach(change: () => void): Promise<void> {
    const { promiscuous, allMulticast } = this;
    change();
    try {
      await this.tellPromiscuous();
    } catch (error) {
      Object.assign(this, { promiscuous, allMulticast });
      if (isRefusal(error)) await this.tellPromiscuous();
      throw error;
    }
  }

  private tellPromiscuous(): Promise<void> {
    const { promiscuous, allMulticast } = this;
    return this.mailbox.setPromiscuous({ unicast: promiscuous, multicast: promiscuous || allMulticast });
  }
}

function isRefusal(error: unknown): error is PollmodeError {
  return error instanceof PollmodeError && error.code === "VF_REFUSED";
}

function sameMac(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** A locally administered unicast address. */
function randomMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(6));
  mac[0] = (mac[0]! & 0xfe) | 0x02;
  return mac;
}
