// Which port of this process has which address of a device. Two ports may share a device, and of two rules that match
// the same the kernel makes one with both destinations (mlx5_add_flow_rules): each frame would come to both.
import { PollmodeError } from "../../src/errors.ts";

/** By device, then by address. */
const owners = new Map<string, Map<string, PortMacs>>();

/** What a started port receives by its addresses. */
export class PortMacs {
  private readonly ibdev: string;
  private readonly port: string;

  constructor(ibdev: string, port: string) {
    this.ibdev = ibdev;
    this.port = port;
  }

  /** These are the port's from now on, and no others. Error: MAC_TAKEN, and nothing has changed. */
  claim(macs: readonly Uint8Array[]): void {
    const claimed = owners.get(this.ibdev) ?? new Map<string, PortMacs>();
    const wanted = macs.map((mac) =>
      Buffer.from(mac)
        .toString("hex")
        .replace(/..(?!$)/g, "$&:"),
    );
    for (const mac of wanted) {
      const other = claimed.get(mac);
      if (other !== undefined && other !== this) throw this.taken(mac, other);
    }
    for (const [mac, owner] of claimed) if (owner === this) claimed.delete(mac);
    for (const mac of wanted) claimed.set(mac, this);
    if (claimed.size > 0) owners.set(this.ibdev, claimed);
    else owners.delete(this.ibdev);
  }

  private taken(mac: string, other: PortMacs): PollmodeError {
    const message = `${this.port}: ${mac} is received by ${other.port}, a port of the same device, ${this.ibdev}`;
    const fix =
      "give each an address of its own (mac=02:00:00:00:00:07), or take frames by flow rules alone: isolated mode";
    return new PollmodeError("MAC_TAKEN", message, fix);
  }
}
