// What a queue found wrong with its file, in words.
import type { PollmodeError } from "../../src/errors.ts";
import { systemError } from "../../src/libc/native.ts";
import { captureFault } from "../../src/pcap/fault.ts";
import { ReadFault } from "./layout.ts";

const hex = (value: number) => `0x${value.toString(16)}`;

/** By ReadFault: the error's code, and what is wrong, given the value that the queue noted. */
const WORDS: { [fault: number]: readonly [code: string, what: (value: number) => string] } = {
  [ReadFault.TRUNCATED]: ["PCAP_TRUNCATED", (n) => `the file ends after ${n} bytes of a record`],
  [ReadFault.EMPTY]: ["PCAP_FORMAT", () => "the file is empty"],
  [ReadFault.NOT_CAPTURE]: [
    "PCAP_FORMAT",
    (n) => `neither a pcap nor a pcapng file: it begins with ${hex(n)}`,
  ],
  [ReadFault.LINK_TYPE]: ["PCAP_LINK_TYPE", (n) => `frames of link type ${n}, which is not Ethernet`],
  [ReadFault.PACKET_LENGTH]: ["PCAP_CORRUPT", (n) => `a packet of ${n} bytes`],
  [ReadFault.BLOCK_LENGTH]: ["PCAP_CORRUPT", (n) => `a block of ${n} bytes`],
  [ReadFault.BYTE_ORDER]: ["PCAP_CORRUPT", (n) => `a section whose byte-order magic is ${hex(n)}`],
  [ReadFault.BLOCK_END]: ["PCAP_CORRUPT", (n) => `a block that ends with another length, ${n}`],
  [ReadFault.INTERFACE]: ["PCAP_CORRUPT", (n) => `a packet of interface ${n}, which is not described`],
  [ReadFault.INTERFACE_COUNT]: ["PCAP_CORRUPT", (n) => `a section with ${n} interfaces`],
};

/** `where`: port, queue and file. `offset`: of the record or block. */
export function readFaultError(where: string, fault: number, value: number, offset: number): PollmodeError {
  if (fault === ReadFault.READ) return systemError("read", `${where}, at offset ${offset}`, value);
  const [code, what] = WORDS[fault] ?? ["PCAP_CORRUPT", () => `fault ${fault}`];
  return captureFault(where, code, what(value), offset);
}
