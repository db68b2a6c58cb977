// examples/balancer.ts: flows stay together, by the hash that RSS would give, and answers come back.
import t from "tap";
import { hashInput, ipv4Vectors } from "../pmd/e1000/toeplitz.ts";
import { frame, Network } from "./network.ts";

t.setTimeout(60_000);

const flows = ipv4Vectors.map((vector) => {
  const input = [...hashInput(vector, true)];
  const header = [0x08, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
  const bytes = frame(2, 1, [...header, ...input, 0, 8, 0, 0]);
  return { bytes, server: vector.hashWithPorts % 2 };
});

t.test("two servers", async (t) => {
  await using net = await Network.start(new URL("../../examples/balancer.js", import.meta.url), 3);
  const frames = Array.from({ length: 40 }, (_, k) => flows[k % flows.length]!);
  const got = await net.send(
    0,
    frames.map(({ bytes }) => bytes),
    frames.length,
  );
  const expected = [0, 1].map((server) =>
    frames.filter((one) => one.server === server).map(({ bytes }) => bytes),
  );
  t.ok(
    expected.every((list) => list.length > 0),
    "both have flows",
  );
  t.same(got, [[], ...expected]);
  const answer = frame(1, 2);
  t.same(await net.send(2, [answer], 1), [[answer], [], []], "answers go out of the front");
});
