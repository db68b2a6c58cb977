// examples/l2-switch.ts: floods what it does not know, learns, and goes on with what it knows after a reload.
import t from "tap";
import { frame, Network } from "./network.ts";

t.setTimeout(60_000);
const [A, B, BROADCAST] = [0x02_0000_0000_0a, 0x02_0000_0000_0b, 0xffff_ffff_ffff];
const app = new URL("../../examples/l2-switch.js", import.meta.url);

t.test("a switch of three ports", async (t) => {
  // what a switch cannot copy because another lcore draws buffers at that moment, it drops and counts
  const missed = new Uint32Array(new SharedArrayBuffer(4));
  await using net = await Network.start(app, 3, { missed });
  const flooded = await net.send(0, [frame(B, A)], 2);
  const check = async (end: number, frames: Uint8Array[], expected: number[], what: string) => {
    const before = missed[0]!;
    const wanted = () => expected.reduce((sum, count) => sum + count) - (missed[0]! - before);
    const got = (await net.send(end, frames, wanted)).map((list) => list.length);
    if (missed[0]! > before) {
      t.comment(`${what}: ${missed[0]! - before} copies missed`);
      expected[1]! -= missed[0]! - before; // port 1 gets the copy, port 2 the frame itself
    }
    t.same(got, expected, `${what}; ${net.drops()}`);
  };
  t.same(flooded, [[], [frame(B, A)], [frame(B, A)]], "unknown: to all others");
  await check(1, [frame(A, B)], [1, 0, 0], "A was learned");
  await check(0, [frame(B, A), frame(B, A)], [0, 2, 0], "and B");
  await check(2, [frame(BROADCAST, A)], [1, 1, 0], "broadcast; A has moved");
  await check(1, [frame(A, B)], [0, 0, 1], "to where it is now");
  await check(2, [frame(A, 0x02_0000_0000_0c)], [0, 0, 0], "to its own port: nowhere");
  await net.engine.reload(3);
  await check(1, [frame(A, B)], [0, 0, 1], "a reloaded switch knows what the old one knew");
  // no more at a time than the wires hold: a switch drops what its outputs do not take
  const many = (to: number) => Array.from({ length: 800 }, () => frame(to, A));
  for (let k = 0; k < 3; k++) await check(0, many(B), [0, 800, 0], "none is lost");
  for (let k = 0; k < 3; k++) await check(0, many(BROADCAST), [0, 800, 800], "nor doubled");
  for (const end of net.ends) await end.close();
  await net.engine.stop(3);
  for (const port of net.engine.ports) await port.close();
  t.same(net.engine.pool.audit([]), [], "every mbuf is back");
  t.ok(missed[0]! < 100, `${missed[0]} copies missed in all: now and then, on few CPUs`);
});
