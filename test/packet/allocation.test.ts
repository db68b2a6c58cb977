// The views of headers make nothing on the heap: once compiled, moving them over packets and reading fields leaves it
// as large as it was. Each case is a function of its own, as in a program: V8 inlines what is called in it. In one that
// reads a dozen fields it stops doing so, and numbers from 2^31 on are then boxed.
import { getHeapStatistics } from "node:v8";
import t from "tap";
import { Ethernet, EtherType, IpProtocol, Ipv4, Ipv6, Tcp, Udp, Vlan } from "../../src/packet/packet.ts";

t.setTimeout(60_000);
const PACKETS = 200_000;
/** V8 compiles in the background, as soon as it finds a loop worth it and a CPU for it. */
const COMPILED_MS_MAX = 10_000;
/** Of a round. A single number on the heap for each packet would be 3 MiB. */
const GROWTH_MAX = 64 * 1024;

const END = 128;
const IPV6_AT = 128;

/** A tagged TCP packet over IPv4 at 0, UDP over IPv6 at IPV6_AT. Addresses and numbers are above 2^31. */
function packets(): Uint8Array {
  const u8 = new Uint8Array(256);
  u8.set([2, 0, 0, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0, 0, 5, 8, 0]);
  u8.set([0x45, 0, 0, 40, 0, 0, 0, 0, 64, IpProtocol.TCP, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2], 18);
  u8.set([0x80, 0, 0, 80, 0xff, 0, 0, 1, 0xff, 0, 0, 2, 0x50, 0x12], 38);
  u8.set([2, 0, 0, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8], IPV6_AT);
  u8.set([IpProtocol.UDP, 64, 0xfd, 1, 0x0d, 0xb8], 148);
  u8.set([0xfd, 1, 0x0d, 0xb9], 166);
  u8.set([0x30, 0x39, 0, 53, 0, 8, 0, 0], 182);
  return u8;
}

const u8 = packets();
const [ethernet, vlan, ipv4, ipv6] = [new Ethernet(u8), new Vlan(u8), new Ipv4(u8), new Ipv6(u8)];
const [tcp, udp] = [new Tcp(u8), new Udp(u8)];
const number = new Float64Array(1);

/** Each is called for every packet and returns 1, as it is right. */
const cases: Readonly<Record<string, () => number>> = {
  "moving from header to header": () => {
    if (!ethernet.move(0, END) || ethernet.etherType !== EtherType.VLAN) return 0;
    if (!vlan.move(ethernet.payload, END) || !ipv4.move(vlan.payload, END)) return 0;
    return tcp.move(ipv4.payload, ipv4.end) && tcp.destinationPort === 80 ? 1 : 0;
  },
  "MAC addresses": () => {
    ethernet.move(0, END);
    number[0] = ethernet.source;
    return number[0] === 0xfeff_ffff_ffff && ethernet.destination === 0x0200_0000_0001 ? 1 : 0;
  },
  "writing a MAC address": () => {
    ethernet.move(0, END);
    ethernet.source = 0xfeff_ffff_ffff;
    return 1;
  },
  "swapping MAC addresses": () => {
    ethernet.move(0, END);
    ethernet.swapAddresses();
    ethernet.swapAddresses();
    return 1;
  },
  "IPv4 addresses": () => (ipv4.move(18, END) && ipv4.source < ipv4.destination ? 1 : 0),
  "TTL and checksum": () => {
    ipv4.move(18, END);
    ipv4.ttl = 64;
    return ipv4.ttl === 64 ? 1 : 0;
  },
  "TCP's numbers": () => (tcp.move(38, 58) && tcp.sequence < tcp.acknowledgement ? 1 : 0),
  "UDP over IPv6": () => {
    if (!ipv6.move(IPV6_AT + 14, 2 * END) || !udp.move(ipv6.payload, ipv6.end)) return 0;
    return ipv6.sourceWord(0) < ipv6.destinationWord(0) && udp.sourcePort === 12345 ? 1 : 0;
  },
};

/** Calls it for many packets. A function made for each case, so that V8 compiles a loop with that case in it. */
const loopOf = () =>
  new Function("work", "n", "let sum = 0; for (let k = 0; k < n; k++) sum += work(); return sum;") as (
    work: () => number,
    n: number,
  ) => number;

/** By how many bytes the heap grew in each round: until it was left alone in three rounds running, or time is up. */
function growths(work: () => void, timeMsMax: number): number[] {
  const found: number[] = [];
  for (const start = performance.now(); performance.now() - start < timeMsMax && !isFlat(found); ) {
    const before = getHeapStatistics().used_heap_size;
    work();
    found.push(getHeapStatistics().used_heap_size - before);
  }
  return found;
}

/** Less than before means that garbage was collected, so there was some. */
function isFlat(growths: readonly number[]): boolean {
  return growths.length >= 3 && growths.slice(-3).every((bytes) => bytes >= 0 && bytes < GROWTH_MAX);
}

for (const [name, work] of Object.entries(cases)) {
  t.test(name, async (t) => {
    const loop = loopOf();
    let right = 0;
    const found = growths(() => {
      right += loop(work, PACKETS);
    }, COMPILED_MS_MAX);
    t.ok(isFlat(found), `bytes a round: ${found.slice(-20).join(", ")}`);
    t.equal(right, PACKETS * found.length, "every packet was read rightly");
  });
}

t.test("what allocates is found", async (t) => {
  const kept: Uint8Array[] = [];
  const wasteful = () => {
    for (let k = 0; k < 10_000; k++) kept.push(u8.subarray(k & 31));
  };
  const found = growths(wasteful, 50);
  t.notOk(isFlat(found), `bytes a round: ${found.slice(-20).join(", ")}`);
});
