// What all drivers ask of an address before they give it to a NIC.
import { PollmodeError } from "../errors.ts";

/** `who` names the port or device in messages. Error: MAC_ADDRESS. */
export function requireStation(who: string, mac: Uint8Array): void {
  if (mac.length === 6 && (mac[0]! & 1) === 0 && mac.some((byte) => byte !== 0)) return;
  const message = `${who}: ${Buffer.from(mac).toString("hex")} is no station's address`;
  throw new PollmodeError(
    "MAC_ADDRESS",
    message,
    "use 6 bytes, not all 0, whose first is even: 02:00:00:00:00:01",
  );
}
