import { EventEmitter } from "node:events";
import t, { type Test } from "tap";
import { liveTables, table } from "../../../src/cli/testpmd/live-tables.ts";
import { LiveView, type Terminal } from "../../../src/cli/testpmd/live-view.ts";
import { Pollmode } from "../../../src/index.ts";
import { BURST_MAX } from "../../../src/limits.ts";
import { rates } from "../../../src/telemetry/rates.ts";
import { lcoreOf, portOf, queueOf, snapshotOf, streamOf } from "../../telemetry/fakes.ts";

t.setTimeout(60_000);

/** As much of a terminal as the view uses; anything else it is sent fails the test. */
class Screen extends EventEmitter<{ resize: [] }> implements Terminal {
  readonly isTTY = true;
  columns = 100;
  rows = 50;
  lines: string[] = [""];
  /** Lines that were scrolled off the top. */
  scrolled: string[] = [];
  cursorShown = true;
  raw: string[] = [];
  private row = 0;
  private column = 0;

  write(text: string): void {
    this.raw.push(text);
    for (const [part] of text.matchAll(/\x1b\[[?\d;]*[A-Za-z]|\n|[^\x1b\n]+/g)) this.take(part);
  }

  /** Where the next text goes. */
  get below(): number {
    return this.row;
  }

  private take(part: string): void {
    if (part === "\n") this.lineFeed();
    else if (part === "\x1b[?25l" || part === "\x1b[?25h") this.cursorShown = part.endsWith("h");
    else if (part === "\x1b[H") [this.row, this.column] = [0, 0];
    else if (part === "\x1b[K") this.lines[this.row] = this.line().slice(0, this.column);
    else if (part === "\x1b[J") {
      this.lines[this.row] = this.line().slice(0, this.column);
      this.lines.length = Math.min(this.lines.length, this.row + 1);
    } else if (!/^\x1b\[\?2026[hl]$/.test(part)) this.print(part);
  }

  private line(): string {
    return this.lines[this.row] ?? "";
  }

  private print(text: string): void {
    if (text.startsWith("\x1b")) throw new Error(`unknown: ${JSON.stringify(text)}`);
    if (this.column + text.length > this.columns) throw new Error(`too wide: ${text}`);
    const line = this.line().padEnd(this.column);
    this.lines[this.row] = line.slice(0, this.column) + text + line.slice(this.column + text.length);
    this.column += text.length;
  }

  private lineFeed(): void {
    this.column = 0;
    if (++this.row < this.rows) return;
    this.row = this.rows - 1;
    this.scrolled.push(this.lines.shift() ?? "");
  }
}

async function engineOf(t: Test): Promise<Pollmode> {
  const vdev = ["net_null0", "net_null1"];
  const pm = await Pollmode.start({ vdev, noHuge: true, memoryMib: 8, mbufs: 512 });
  t.teardown(() => pm.close());
  for (const port of pm.ports) {
    await port.configure({ rxQueues: 2, txQueues: 2 });
    await port.start();
  }
  return pm;
}

const block = "\nPort statistics ====\n  ######## NIC statistics for port 0\n  RX-packets: 5";

t.test("in a pipe: the blocks and nothing else", async (t) => {
  const pm = await engineOf(t);
  let text = "";
  const pipe = Object.assign(new EventEmitter(), { write: (part: string) => (text += part) });
  const view = new LiveView(pm, pipe);
  view.show(block);
  t.equal(view.note("a message"), false, "not among the blocks");
  view.show(block);
  view.end();
  t.equal(text, `${block}\n${block}\n`);
});

t.test("on a terminal: in place", async (t) => {
  const pm = await engineOf(t);
  const screen = new Screen();
  screen.write("$ pollmode testpmd\n");
  const view = new LiveView(pm, screen);
  view.show(block);
  t.ok(screen.scrolled.includes("$ pollmode testpmd"), "what stood there can be scrolled back to");
  t.equal(screen.cursorShown, false);
  t.same(screen.lines.slice(0, 3), block.split("\n").slice(1), "testpmd's block comes first");
  const text = screen.lines.join("\n");
  t.match(text, /^Port +Rx-pps +Rx-bps +Tx-pps +Tx-bps +Dropped/m);
  t.match(text, /^1 +0 +0 +0 +0 +0\n {2}q0 +0/m, "each port, each queue");
  t.match(text, /^lcore +CPU +State +Busy/m);
  const first = [...screen.lines];
  const writes = screen.raw.length;
  view.show(block);
  t.same(screen.lines, first, "nothing happened: nothing changed");
  t.equal(screen.raw.length, writes + 1, "one write, so that nothing is seen half painted");
  t.match(screen.raw.at(-1), /^\x1b\[\?2026h\x1b\[H.*\x1b\[\?2026l$/s);
  t.notMatch(screen.raw.join(""), /\x1b\[2J/, "the screen is never cleared");
  view.show("short");
  t.notMatch(screen.lines.join("\n"), "RX-packets", "what is no more is gone");
  t.equal(view.note("lcore 3: no heartbeat"), true);
  t.ok(screen.lines.includes("lcore 3: no heartbeat"));
  view.show("short");
  t.ok(screen.lines.includes("lcore 3: no heartbeat"), "it stays in sight");
  view.end();
  t.equal(screen.cursorShown, true);
  t.equal(screen.lines[screen.below], "", "what follows has a line of its own");
  t.equal(screen.listenerCount("resize"), 0);
});

t.test("small windows, and windows that change", async (t) => {
  const pm = await engineOf(t);
  const screen = new Screen();
  const view = new LiveView(pm, screen);
  view.show(block);
  for (const [columns, rows] of [
    [80, 24],
    [40, 24],
    [12, 10],
    [200, 12],
    [100, 3],
    [100, 50],
  ] as const) {
    Object.assign(screen, { columns, rows, lines: screen.lines.slice(0, rows) });
    screen.emit("resize");
    t.ok(screen.lines.length <= rows, `${columns} x ${rows}`);
    t.same(
      screen.scrolled.filter((line) => line !== ""),
      [],
      "nothing was scrolled away",
    );
    if (rows < 15) t.match(screen.lines.at(-2), /^… \d+ more/, "and says that there is more");
  }
  t.match(screen.lines.join("\n"), /RX-packets/, "there is room again");
  view.end();
});

t.test("the cursor comes back when the process ends", async (t) => {
  const pm = await engineOf(t);
  const before = process.listenerCount("exit");
  const screen = new Screen();
  const view = new LiveView(pm, screen);
  view.show(block);
  t.equal(process.listenerCount("exit"), before + 1);
  (process.listeners("exit").at(-1) as () => void)();
  t.equal(screen.cursorShown, true);
  view.end();
  t.equal(process.listenerCount("exit"), before);
});

t.test("tables", async (t) => {
  const bursts = new Float64Array(BURST_MAX + 1);
  bursts[1] = 250;
  bursts[32] = 750;
  const latency = new Float64Array(1728);
  latency[60] = 10;
  const lcore = lcoreOf({
    cpus: [2, 3],
    streams: [streamOf(0, 1, 5000)],
    counters: { polls: 2000, emptyPolls: 1000, packets: 24_250, bursts, latency },
  });
  const ports = [
    portOf({ id: 0, stats: { rxPackets: 1e6, rxBytes: 64e6, rxMissed: 70 } }),
    portOf({ id: 1, txQueues: [queueOf(), queueOf({ packets: 500, bytes: 32_000 })] }),
  ];
  const now = snapshotOf(2000, ports, [lcore]);
  const empty = snapshotOf(1000, [portOf(), portOf({ id: 1 })], [lcoreOf({ streams: [streamOf(0, 1)] })]);
  const text = liveTables(now, rates(empty, now), 200).join("\n");
  t.match(text, /^0 +1\.000 Mpps +512\.0 Mbit\/s +0 +0 +70\.00 \/s +rx missed 70\.00 \/s$/m);
  t.match(text, /^1 +0 +0 +0 +0 +5\.000 k\/s +tx full 5\.000 k\/s$/m);
  t.match(
    text,
    /^ {2}q1 +- +- +500\.0 pps +256\.0 kbit\/s +0$/m,
    "a queue that receives nothing: none there",
  );
  t.match(text, /^0 +2,3 +running +- +24\.25 kpps +24\.3 +50\.0 % +- +60 ns \/ 60 ns \/ 60 ns \/ 60 ns$/m);
  t.match(text, /^bursts of lcore 0: 1: 25\.0 % {3}32-63: 75\.0 %$/m);
  t.match(text, /^mbufs in use: 100 of 1,024$/m);
  for (const width of [120, 80, 60, 40, 20, 5]) {
    const lines = liveTables(now, rates(empty, now), width);
    t.ok(
      lines.every((line) => line.length <= width),
      `${width} columns`,
    );
  }
  const narrow = table(
    [{ title: "a" }, { title: "bbb", drop: 2 }, { title: "cc", drop: 1 }],
    [["1", "2", "3"]],
    7,
  );
  t.same(narrow, ["a  bbb", "1    2"], "what matters least goes first");
});
