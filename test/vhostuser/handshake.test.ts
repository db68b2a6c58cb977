// The front-end and the back-end against each other, over a socketpair.
import t from "tap";
import { close, eventfd, socketpair } from "../../src/libc/libc.ts";
import { VhostUserFrontend } from "../../src/vhostuser/frontend.ts";
import { Feature, PACKED_WRAP, ProtocolFeature } from "../../src/vhostuser/protocol.ts";
import { allProtocolFeatures, memoryFile, newPoller, openFds, region, TestBackend, until } from "./peers.ts";

interface Case {
  name: string;
  wanted: bigint;
  protocol: bigint;
  pairs: number;
  features?: bigint;
}

const base = Feature.VERSION_1 | Feature.NET_MRG_RXBUF;
const cases: Case[] = [
  { name: "split", wanted: base, protocol: allProtocolFeatures, pairs: 1 },
  { name: "packed", wanted: base | Feature.RING_PACKED, protocol: allProtocolFeatures, pairs: 1 },
  { name: "4 queue pairs", wanted: base | Feature.NET_MQ, protocol: allProtocolFeatures, pairs: 4 },
  {
    name: "memory table",
    wanted: base,
    protocol: allProtocolFeatures & ~ProtocolFeature.CONFIGURE_MEM_SLOTS,
    pairs: 1,
  },
  { name: "no acknowledgements", wanted: base, protocol: ProtocolFeature.MQ, pairs: 1 },
  { name: "no protocol features at all", wanted: base, protocol: 0n, pairs: 1 },
];

for (const { name, wanted, protocol, pairs } of cases) {
  t.test(name, async (t) => {
    const before = openFds();
    const poller = newPoller();
    const [a, b] = socketpair();
    const device = new TestBackend(b, poller, protocol);
    let ends = 0;
    const frontend = new VhostUserFrontend(a, poller, { name: "test", onClose: () => ends++ });
    const features = await frontend.negotiate(wanted, Feature.VERSION_1);
    t.equal(features, wanted | Feature.PROTOCOL_FEATURES);
    t.equal(frontend.protocolFeatures, protocol & ~(ProtocolFeature.RARP | ProtocolFeature.RESET_DEVICE));
    t.equal(await frontend.queuePairsMax(), protocol & ProtocolFeature.MQ ? 4 : 1);

    const memory = memoryFile();
    const second = region({ guestAddress: 0x100_0000n, userAddress: 0x8000_0000n, mmapOffset: 0x20000n });
    await frontend.shareMemory([
      { ...region(), fd: memory },
      { ...second, fd: memory },
    ]);
    close(memory);
    t.same(
      device.regions.map(({ fd: _, ...rest }) => rest),
      [region(), second],
    );

    const packed = (wanted & Feature.RING_PACKED) !== 0n;
    const start = packed ? PACKED_WRAP : 0;
    const fds: number[] = [];
    for (let index = 0; index < 2 * pairs; index++) {
      const [kickFd, callFd] = [eventfd(), eventfd()];
      fds.push(kickFd, callFd);
      const addresses = { desc: 0x7000_0000n, avail: 0x7000_2000n, used: 0x7000_3000n };
      await frontend.setupVring(index, { size: 256, base: start, ...addresses, kickFd, callFd });
    }
    t.equal(device.running.size, 0, "rings wait for their enabling");
    for (let index = 0; index < 2 * pairs; index++) await frontend.enableVring(index, true);
    await frontend.driverOk();
    await until(() => device.running.size === 2 * pairs, "the rings' start");
    const expected = { index: 1, size: 256, base: start, packed, desc: 0x7000_0000n, avail: 0x7000_2000n };
    t.match(device.running.get(1), { ...expected, used: 0x7000_3000n, kickFd: Number, callFd: Number });
    if (protocol & ProtocolFeature.STATUS) t.same(device.log.slice(-1), ["status 15"]);

    t.equal(await frontend.stopVring(0), 77);
    t.notOk(device.running.has(0));
    t.equal(await frontend.stopVring(0), 77, "a stopped ring keeps its base");
    await frontend.enableVring(1, false);
    await until(() => !device.running.has(1), "the stop");
    await frontend.enableVring(1, true);
    await until(() => device.running.has(1), "the start");
    t.equal(device.running.get(1)!.base, 77, "it goes on where it stopped");

    if (protocol & ProtocolFeature.NET_MTU) {
      await frontend.setMtu(9000);
      t.same(device.log.slice(-1), ["mtu 9000"]);
      await t.rejects(frontend.setMtu(1), { code: "VHOST_REFUSED", fix: /log/ });
      t.match(device.refusals, [{ code: "VHOST_VALUE", message: /NET_SET_MTU: 1 is no MTU/ }]);
    } else await t.rejects(frontend.setMtu(9000), { code: "ENOTSUP" });

    frontend.close();
    await until(() => device.ended > 0 && ends > 0, "the end");
    t.match(device.reason, { code: "VHOST_DISCONNECTED" });
    t.equal(device.running.size, 0, "all rings are stopped at the end");
    await t.rejects(frontend.stopVring(0), { code: "VHOST_CLOSED" });
    await device.backend.close();
    t.same([device.ended, ends], [1, 1], "each side hears once of the end");
    fds.forEach(close);
    poller.close();
    await until(() => openFds() <= before, "the last fd's close");
  });
}

t.test("features that must be there", async (t) => {
  const poller = newPoller();
  const [a, b] = socketpair();
  const device = new TestBackend(b, poller);
  const frontend = new VhostUserFrontend(a, poller, { name: "test" });
  const needed = Feature.VERSION_1 | Feature.IN_ORDER;
  await t.rejects(frontend.negotiate(needed, needed), { code: "VHOST_FEATURES", message: /feature 35/ });
  await device.backend.close();
  await until(() => frontend.closed, "the end");
  t.equal(device.reason, undefined, "closed by ourselves");
  poller.close();
});

t.test("rings start enabled without PROTOCOL_FEATURES", async (t) => {
  const poller = newPoller();
  const [a, b] = socketpair();
  const device = new TestBackend(b, poller, 0n);
  const frontend = new VhostUserFrontend(a, poller, { name: "test" });
  await frontend.negotiate(Feature.VERSION_1, Feature.VERSION_1);
  // As a front-end does that does not know of bit 30: it agrees on VERSION_1 alone.
  const { encodeU64, Request } = await import("../../src/vhostuser/protocol.ts");
  const raw = (frontend as unknown as { socket: { send(...args: unknown[]): void } }).socket;
  raw.send(Request.SET_FEATURES, 0, encodeU64(Feature.VERSION_1));
  const memory = memoryFile();
  await frontend.shareMemory([{ ...region(), fd: memory }]);
  close(memory);
  const addresses = { desc: 0x7000_0000n, avail: 0x7000_2000n, used: 0x7000_3000n };
  await frontend.setupVring(0, { size: 64, base: 5, ...addresses });
  await until(() => device.running.size === 1, "the start");
  t.match(device.running.get(0), { base: 5, kickFd: undefined, callFd: undefined });
  frontend.close();
  await until(() => device.ended === 1, "the end");
  poller.close();
});
