import t from "tap";
import { Live } from "../../../bench/rx-pps/live.ts";
import { count, percent, rate, time } from "../../../src/telemetry/units.ts";

function terminal(isTTY: boolean) {
  const out = { isTTY, text: "", write: (text: string) => (out.text += text) };
  return out;
}

const at = (seconds: number, packets: number) => ({
  seconds,
  packets,
  bytes: packets * 64,
  drops: { a: 1, b: 2 },
  emptyShare: 0.5,
});

t.test("on a terminal", async (t) => {
  const out = terminal(true);
  const live = new Live(out);
  live.progress(at(0.5, 100));
  t.equal(out.text, "", "once a second");
  live.progress(at(1, 2_000_000));
  t.equal(out.text, "\r   1 s   2.000 Mpps   1.024 Gbit/s   empty polls 50.0 %   dropped 3\x1b[K");
  out.text = "";
  live.progress(at(2, 2_000_500));
  t.match(out.text, "500.0 pps", "the last second's rate");
  out.text = "";
  live.say("hello");
  t.equal(out.text, "\r\x1b[Khello\n", "a message has its own line");
  out.text = "";
  live.clear();
  t.equal(out.text, "", "nothing is left to clear");
});

t.test("into a file or pipe", async (t) => {
  const out = terminal(false);
  const live = new Live(out);
  live.progress(at(1, 2_000_000));
  live.say("hello");
  live.clear();
  t.equal(out.text, "hello\n");
});

t.test("units", async (t) => {
  t.same([count(1234567.6), count(0)], ["1,234,568", "0"]);
  t.same(
    [rate(0, "pps"), rate(999, "pps"), rate(1234, "pps"), rate(12_345_678, "pps"), rate(1.5e9, "bit/s")],
    ["0.000 pps", "999.0 pps", "1.234 kpps", "12.35 Mpps", "1.500 Gbit/s"],
  );
  t.same(
    [time(50), time(3.256), time(1234), time(32_500), time(1_250_000), time(4e9)],
    ["50 ns", "3.26 ns", "1234 ns", "32.5 µs", "1.25 ms", "4.00 s"],
  );
  t.same(
    [percent(0), percent(1), percent(0.971), percent(0.00001), percent(0.99999)],
    ["0 %", "100 %", "97.1 %", "<0.1 %", ">99.9 %"],
  );
});
