// The VF's mailbox against a PF that grants, refuses, is silent, deaf, slow, busy, down, or reset under a request.
import t from "tap";
import { multicastHash, VfMailbox } from "../../../pmd/e1000/mailbox.ts";
import { VfMessage } from "../../../pmd/e1000/vf-registers.ts";
import { type PfMood, VfModel } from "./vf-model.ts";

const names = { vf: "0000:01:10.0", pf: "eth3", index: 2, mend: "ip link set eth3 up" } as const;
const mac = Uint8Array.of(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);
const timeoutMs = 60;

async function opened(mood: PfMood = "answers"): Promise<{ model: VfModel; box: VfMailbox }> {
  const model = new VfModel();
  const box = new VfMailbox(model, names, timeoutMs);
  await box.reset();
  model.mood = mood;
  model.taken.length = 0;
  return { model, box };
}

t.test("reset: the PF gives the address its administrator set, or none", async (t) => {
  const model = new VfModel();
  const box = new VfMailbox(model, names, timeoutMs);
  t.equal(await box.reset(), undefined);
  t.ok(model.clearToSend, "a refused address is no refused reset");
  model.adminMac = mac;
  t.same(await box.reset(), mac);
  t.notOk(model.owned, "the buffer was given back");
});

t.test("each message as igb reads it", async (t) => {
  const { model, box } = await opened();
  const last = () => model.taken.at(-1)!;
  await box.setMac(mac);
  t.same(last().slice(0, 3), [0x02, 0x33221102, 0x5544]);
  await box.addMac(mac);
  t.same(last().slice(0, 3), [0x20002, 0x33221102, 0x5544]);
  await box.clearMacs(mac);
  t.same(last().slice(0, 3), [0x10002, 0x33221102, 0x5544]);
  await box.setVlan(100, true);
  t.same(last().slice(0, 2), [0x10004, 100]);
  await box.setVlan(100, false);
  t.same(last().slice(0, 2), [0x00004, 100]);
  await box.setMaxFrame(9022);
  t.same(last().slice(0, 2), [0x05, 9022]);
  await box.setPromiscuous({ unicast: false, multicast: true });
  t.equal(last()[0], 0x20006);
  await box.setPromiscuous({ unicast: false, multicast: false });
  t.equal(last()[0], 0x06);
  t.notOk(model.owned);
});

t.test("multicast: hashes of 12 bits, two a word; more than 30 groups are all groups", async (t) => {
  const { model, box } = await opened();
  const group = (last: number) => Uint8Array.of(0x01, 0x00, 0x5e, 0, 0xab, last);
  t.equal(multicastHash(group(0xcd)), 0xcda, "bits 47:36 of the address");
  await box.setMulticast([group(0xcd), group(0x12), group(1)]);
  t.same(model.taken.at(-1)!.slice(0, 4), [0x30003, 0x012a0cda, 0x01a, 0]);
  await box.setMulticast([]);
  t.equal(model.taken.at(-1)![0], 0x00003);
  await box.setMulticast(Array.from({ length: 31 }, (_, k) => group(k)));
  t.equal(model.taken.at(-1)![0], 0x9e0003, "30 hashes, and the overflow bit");
});

t.test("a refusal names what was refused, the PF, and the command that mends it", async (t) => {
  const { box } = await opened("refuses");
  await t.rejects(box.setMac(mac), {
    code: "VF_REFUSED",
    message: "0000:01:10.0: eth3 refuses its VF 2 the MAC address 02:11:22:33:44:55",
    fix: /^ip link set eth3 vf 2 mac 02:11:22:33:44:55, or ip link set eth3 vf 2 trust on$/,
  });
  await t.rejects(box.addMac(mac), { code: "VF_REFUSED", fix: /vf 2 trust on/ });
  await t.rejects(box.clearMacs(mac), { code: "VF_REFUSED" });
  await t.rejects(box.setVlan(7, true), { code: "VF_REFUSED", message: /VLAN 7/, fix: /vf 2 vlan 0/ });
  await t.rejects(box.setMaxFrame(9000), { code: "VF_REFUSED", message: /frames of 9000 bytes/ });
  await t.rejects(box.setMulticast([mac]), { code: "VF_REFUSED", message: /1 multicast groups/ });
  await t.rejects(box.setPromiscuous({ unicast: false, multicast: true }), { message: /all multicast/ });
});

t.test("promiscuous mode is never granted by igb", async (t) => {
  const { box } = await opened();
  await t.rejects(box.setPromiscuous({ unicast: true, multicast: true }), {
    code: "VF_REFUSED",
    message: /the promiscuous mode$/,
    fix: /addMac/,
  });
});

t.test("a PF that does not read, and one that does not answer", async (t) => {
  const deaf = await opened("deaf");
  const timeout = { code: "VF_MAILBOX_TIMEOUT", fix: /^ip link set eth3 up/ };
  await t.rejects(deaf.box.setVlan(1, true), {
    ...timeout,
    message: /eth3 does not read the mailbox \(60 ms\)$/,
  });
  const silent = await opened("silent");
  await t.rejects(silent.box.setVlan(1, true), { ...timeout, message: /does not answer/ });
  silent.model.mood = "answers";
  await silent.box.setVlan(1, true);
  t.pass("the next request is served");
  const busy = await opened();
  busy.model.hold(Number.POSITIVE_INFINITY);
  await t.rejects(busy.box.setVlan(1, true), { ...timeout, message: /keeps the mailbox to itself/ });
});

t.test("a PF that holds the buffer for a while, or is slow, is waited for", async (t) => {
  const { model, box } = await opened();
  model.hold(20);
  model.slowness = 30;
  await box.setVlan(1, true);
  t.equal(model.taken.length, 1);
});

t.test("requests made at once are sent one after the other", async (t) => {
  const { model, box } = await opened();
  await Promise.all([box.setVlan(1, true), box.setMac(mac), box.setVlan(2, true)]);
  t.same(
    model.taken.map(([word]) => word! & 0xffff),
    [VfMessage.SET_VLAN, VfMessage.SET_MAC_ADDR, VfMessage.SET_VLAN],
  );
});

t.test("the PF is down: at reset, and under a request", async (t) => {
  const model = new VfModel();
  model.pfDown();
  const box = new VfMailbox(model, names, timeoutMs);
  const down = { code: "VF_PF_DOWN", fix: "ip link set eth3 up" };
  await t.rejects(box.reset(), { ...down, message: /^0000:01:10.0: its physical function eth3 is down/ });
  model.pfUp();
  await box.reset();
  model.slowness = 1000;
  const started = performance.now();
  const patient = new VfMailbox(model, names, 10_000);
  const request = patient.setVlan(1, true);
  setTimeout(() => model.pfDown(), 20);
  await t.rejects(request, down);
  t.ok(performance.now() - started < 5000, "it is not waited for");
});

t.test("what the PF does of its own accord", async (t) => {
  const { model, box } = await opened();
  const quiet = { away: false, forgot: false };
  t.same(box.look(), quiet);
  model.ping();
  t.same(box.look(), quiet, "a ping with CTS: nothing has changed for the VF");
  model.pfDown();
  t.same(box.look(), { away: true, forgot: false });
  model.pfUp();
  t.same(box.look(), { away: false, forgot: true });
  t.same(box.look(), { away: false, forgot: true }, "until the VF has sent RESET");
  await box.reset();
  t.same(box.look(), quiet);
  model.clearToSend = false; // a reset that went by unseen
  model.ping();
  t.same(box.look(), { away: false, forgot: true });
});

t.test("a reset that is over before it is looked for shows in the next request, and stays", async (t) => {
  const { model, box } = await opened();
  model.pfDown();
  model.pfUp();
  await t.rejects(box.setVlan(1, true), { code: "VF_PF_DOWN", message: /has not taken this VF back yet/ });
  t.same(box.look(), { away: false, forgot: true });
});

t.test("a ping before the answer is told from it", async (t) => {
  const { model, box } = await opened();
  model.slowness = 40;
  const request = box.setVlan(1, true);
  while (model.taken.length === 0) await new Promise(setImmediate);
  model.ping();
  await request;
  model.ping();
  await box.setVlan(2, true);
  t.same(box.look(), { away: false, forgot: false });
  t.equal(model.taken.length, 2);
});

t.test("a ping that wipes the request or its answer out: it is asked again", async (t) => {
  const { model, box } = await opened();
  model.wipe = "answer";
  await box.setVlan(1, true);
  t.equal(model.taken.length, 2);
  model.wipe = "request";
  await box.setVlan(2, true);
  t.same(
    model.taken.map((message) => message[1]),
    [1, 1, 2],
  );
  model.clearToSend = false; // the ping then says so
  model.wipe = "answer";
  await t.rejects(box.setVlan(3, true), { code: "VF_PF_DOWN", message: /has not taken this VF back yet/ });
  model.wipe = "answer";
  await box.reset();
  t.same(box.look(), { away: false, forgot: false }, "RESET goes on all the same");
});

t.test("looking while a request is under way does not take its answer", async (t) => {
  const { model, box } = await opened();
  model.slowness = 40;
  let done = false;
  const request = box.setVlan(1, true).finally(() => {
    done = true;
  });
  while (!done) {
    box.look();
    await new Promise(setImmediate);
  }
  await request;
  t.pass();
});
