// What is wrong with a file, in the words of all readers.
import { PollmodeError } from "../errors.ts";

/** A file's fault: PCAP_FORMAT, PCAP_CORRUPT or PCAP_TRUNCATED, with the offset of the record or block. */
export function captureFault(name: string, code: string, what: string, offset: number): PollmodeError {
  const fixes: { [code: string]: string } = {
    PCAP_FORMAT:
      "give a pcap or pcapng file; gunzip one that is compressed, convert others: editcap FILE OUT.pcapng",
    PCAP_TRUNCATED:
      "its writer did not finish it; what comes before is whole. Cut it there: editcap FILE OUT",
    PCAP_LINK_TYPE: "capture on an Ethernet interface",
    PCAP_LOOPS: "leave loops and infinite_rx out, or give a file",
    PCAP_CORRUPT: "capture it again; what comes before the offset is whole. Cut it there: editcap FILE OUT",
  };
  return new PollmodeError(code, `${name}: ${what}, at offset ${offset}`, fixes[code] ?? "capture it again");
}
