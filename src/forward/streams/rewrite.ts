// What the modes that rewrite headers are told: addresses, and who makes checksums.
import { PollmodeError } from "../../errors.ts";
import { Csum, CsumBy } from "../csum.ts";
import { IcmpEcho } from "../icmpecho.ts";
import { MacHeader } from "../mac.ts";
import type { StreamBlock } from "./block.ts";
import { type ChecksumName, checkPeer, macWords, peerOf, type StreamOptions } from "./spec.ts";

export function checkMac(options: StreamOptions): void {
  checkPeer(options);
}

export function prepareMac(block: StreamBlock, options: StreamOptions): void {
  const { port } = options.tx!;
  const header = Buffer.from([...peerOf(options, port), ...port.mac]);
  block.set(MacHeader.FIRST, header.readUInt32LE(0));
  block.set(MacHeader.SECOND, header.readUInt32LE(4));
  block.set(MacHeader.THIRD, header.readUInt32LE(8));
}

export function checkCsum(options: StreamOptions): void {
  checkPeer(options);
  const { port } = options.tx!;
  const { checksum } = options;
  if (checksum === undefined || checksum === "software" || checksum.length === 0 || hasChecksum(options))
    return;
  const message = `csum: port ${port.id} (${port.info.driver}) does not make checksums`;
  throw new PollmodeError("NOT_SUPPORTED", message, 'leave checksum out, or choose "software"');
}

export function prepareCsum(block: StreamBlock, options: StreamOptions): void {
  prepareMac(block, options);
  block.set(Csum.BY_PORT, byPort(options));
  block.set(Csum.TUNNELS, options.tunnels ? 1 : 0);
}

const BITS: Readonly<Record<ChecksumName, CsumBy>> = { ip: CsumBy.IP, tcp: CsumBy.TCP, udp: CsumBy.UDP };

function byPort(options: StreamOptions): number {
  const { checksum = "port" } = options;
  if (checksum === "software" || !hasChecksum(options)) return 0;
  const names = checksum === "port" ? (Object.keys(BITS) as ChecksumName[]) : checksum;
  return names.reduce((bits, name) => bits | BITS[name], 0);
}

function hasChecksum({ tx }: StreamOptions): boolean {
  return tx!.port.info.offloads?.includes("txChecksum") ?? false;
}

export function prepareEcho(block: StreamBlock, { tx }: StreamOptions): void {
  const { low, high } = macWords(tx!.port.mac);
  block.set(IcmpEcho.MAC_LOW, low);
  block.set(IcmpEcho.MAC_HIGH, high);
}
