// What console commands set of ports, over configurations, stops and starts: on devices that only remember what they
// were told.
import t from "tap";
import type { ForwardConfig } from "../../../src/cli/testpmd/config.ts";
import { parseTestpmd } from "../../../src/cli/testpmd/options.ts";
import { type PortSettings, PortTuning } from "../../../src/cli/testpmd/port-tuning.ts";
import { type PortChoice, SessionPorts } from "../../../src/cli/testpmd/ports.ts";
import type { PollmodeError } from "../../../src/errors.ts";
import type { DeviceConfig, EthDevice, RssConfig } from "../../../src/ethdev/driver.ts";
import { Port } from "../../../src/ethdev/port.ts";
import type { Arena } from "../../../src/memory/arena.ts";
import type { Pollmode } from "../../../src/pollmode.ts";
import { lcoreArgs } from "./support.ts";

const QUEUE_BYTES = 1024;

/** What a device was told. */
class Told {
  readonly configs: DeviceConfig[] = [];
  readonly mtus: number[] = [];
  readonly strips: boolean[] = [];
  rss: Required<RssConfig> = { key: new Uint8Array(40), types: [], table: [] };

  /** Of the configuration at the last start. */
  get config(): DeviceConfig {
    return this.configs.at(-1)!;
  }
}

function fakeDevice(told: Told, has: Partial<EthDevice>): EthDevice {
  const queues = (count = 0) => Array.from({ length: count }, (_, k) => k * QUEUE_BYTES);
  return {
    info: {
      ...{ driver: "net_fake", rxQueuesMax: 4, txQueuesMax: 4, frameBytesMax: 1518 },
      offloads: ["vlanStrip", "vlanInsert"],
      rss: { keyBytes: 40, tableEntries: 8, types: ["ipv4", "ipv6"] },
    },
    mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
    get rxQueues() {
      return queues(told.configs.at(-1)?.rxQueues);
    },
    get txQueues() {
      return queues(told.configs.at(-1)?.txQueues);
    },
    configure: async (config) => {
      told.configs.push(config);
      const { table = Array.from({ length: 8 }, (_, k) => k % config.rxQueues), types = [] } =
        config.rss ?? {};
      told.rss = { ...told.rss, types, table };
    },
    start: async () => {},
    stop: async () => {},
    close: async () => {},
    link: () => ({ up: true, speed: 10_000, duplex: "full" }),
    setRss: async (rss) => {
      told.rss = { ...told.rss, ...rss };
    },
    rss: () => told.rss,
    setMtu: async (mtu) => void told.mtus.push(mtu),
    ...has,
  };
}

/** Ports 0, 1, … of devices that have this beside, or in place of, what a fake has. */
function rig(app: readonly string[], ...has: Partial<EthDevice>[]) {
  const parsed = parseTestpmd([...lcoreArgs(), "--", ...app]);
  if (parsed.what !== "run") throw new Error(parsed.what);
  const lists = { portlist: has.map((_, id) => id), nbPorts: has.length, corelist: [1] };
  let config: ForwardConfig = { ...parsed.options.forward, ...lists };
  const memory = new ArrayBuffer(8 * QUEUE_BYTES);
  const arena = { u32: new Uint32Array(memory), f64: new Float64Array(memory) } as unknown as Arena;
  const devices = has.map((own) => ({ told: new Told(), own }));
  const all = devices.map(({ told, own }, id) => new Port(id, `net_fake${id}`, fakeDevice(told, own), arena));
  const said: string[] = [];
  const ports = new SessionPorts(
    {
      engine: { ports: all } as unknown as Pollmode,
      config: () => config,
      say: () => {},
      warn: (text) => void said.push(text),
      isForwarding: () => false,
      leave: { asked: false },
    },
    [],
  );
  const tuning = new PortTuning(ports);
  return {
    ...{ ports, tuning, said },
    told: devices[0]!.told,
    others: devices.slice(1).map(({ told }) => told),
    set: async (id: PortChoice, settings: PortSettings) => {
      config = { ...config, ...(await tuning.configure(id, settings, config)) };
    },
    reta: (...pairs: [number, number][]) => tuning.setRedirection(0, pairs, config.rxq),
    restart: async () => {
      await ports.stop("all");
      await ports.start("all");
    },
  };
}

t.test(
  "--max-pkt-len is the MTU that ports begin with; whoever sets it later has the last word",
  async (t) => {
    const { ports, told, set, restart } = rig(["--max-pkt-len=1600"], {});
    await ports.start("all");
    t.same(told.mtus, [1582]);
    await t.rejects(set("all", { maxPktLen: 2018 }), {
      code: "PORT_STATE",
      message: "Please stop all ports first",
    });
    await ports.stop("all");
    await set("all", { maxPktLen: 2018 });
    await set("all", { rxq: 2, txq: 2 });
    await ports.start("all");
    t.same(told.mtus, [1582, 2000], "configured anew, and not back");
    t.equal(ports.state(0).mtu, 2000);
    await set(0, { mtu: 1400 });
    ports.state(0).stale = true;
    await restart();
    t.same(told.mtus, [1582, 2000, 1400]);
  },
);

t.test("before the first start, too", async (t) => {
  const { ports, told, set } = rig(["--max-pkt-len=1600"], {});
  await set(0, { mtu: 1400 });
  await ports.start("all");
  t.same(told.mtus, [1400]);
});

t.test("a length that one port refuses, none has", async (t) => {
  const refuse = async () => {
    throw new Error("too long");
  };
  const { ports, told, set } = rig(["--max-pkt-len=1600"], {}, { setMtu: refuse });
  await t.rejects(set("all", { maxPktLen: 9018 }), { message: "too long" });
  t.same(told.mtus, [9000, 1500]);
  t.match(ports.state(0), { mtu: 1500, maxPktLen: 1600 }, "--max-pkt-len is still to come");
  const fixed = rig([], {}, {});
  const port = fixed.ports.get(1);
  port.can = (method) => method !== "setMtu";
  const limit = /^max-pkt-len 1523: port 1 \(net_fake1\) has frames of 1522 bytes at most$/;
  await t.rejects(fixed.set("all", { maxPktLen: 1523 }), { code: "OPTION_VALUE", message: limit });
  t.same(fixed.told.mtus, [], "nothing was begun");
  await fixed.set("all", { maxPktLen: 1522 });
  t.same([fixed.told.mtus, fixed.others[0]!.mtus], [[1504], []], "frames that a port has anyway");
});

t.test("a redirection table stays over stops and configurations", async (t) => {
  const { ports, told, said, set, reta, restart } = rig(["--rxq=4", "--txq=4"], {});
  await ports.start("all");
  t.equal(told.config.rss?.table, undefined);
  await reta([0, 3], [2, 1]);
  const table = [3, 1, 1, 3, 0, 1, 2, 3];
  t.same(told.rss.table, table, "the other entries stay");
  await restart();
  await ports.stop("all");
  await set("all", { rss: ["ipv4"] });
  await ports.start("all");
  t.same([told.config.rss?.table, told.config.rss?.types], [table, ["ipv4"]], "configured anew with it");
  await ports.stop("all");
  await reta([7, 0]);
  await ports.start("all");
  t.same(told.config.rss?.table, [...table.slice(0, 7), 0], "set while it was stopped");
  t.same(said, []);
  await ports.stop("all");
  await set("all", { rxq: 2, txq: 2 });
  await ports.start("all");
  const words = "its redirection table led to receive queue 3; queues are 0 to 1 now and take turns";
  t.same(said, [`port 0 (net_fake0): ${words}`]);
  t.equal(told.config.rss?.table, undefined);
  await reta([1, 0]);
  t.same(told.rss.table, [0, 0, 0, 1, 0, 1, 0, 1]);
});

t.test("a redirection that cannot be changes nothing", async (t) => {
  const { ports, told, reta, tuning } = rig(["--rxq=2", "--txq=2"], {});
  for (const started of [false, true]) {
    if (started) await ports.start("all");
    await t.rejects(reta([0, 1], [8, 0]), {
      code: "RSS",
      message: /has no entry 8$/,
      fix: "entries are 0 to 7",
    });
    await t.rejects(reta([0, 1], [1, 2]), { code: "RSS", message: /leads to receive queue 2/ });
    t.equal(ports.state(0).rssTable, undefined);
  }
  t.same(told.rss.table, [0, 1, 0, 1, 0, 1, 0, 1]);
  const single = { code: "RSS", message: /with one receive queue/, fix: /port config all rxq 2/ };
  await t.rejects(tuning.setRedirection(0, [[0, 0]], 1), single);
});

t.test("VLAN stripping is switched while a port runs, where its driver can", async (t) => {
  const strips: boolean[] = [];
  const { ports, told, tuning, restart } = rig([], { setVlanStrip: async (on) => void strips.push(on) }, {});
  await ports.start("all");
  await tuning.setVlan("strip", 0, true);
  await tuning.setVlan("strip", 0, false);
  await tuning.setVlan("strip", 0, true);
  t.same(strips, [true, false, true]);
  await restart();
  t.equal(told.configs.length, 1, "nothing to be configured anew");
  ports.state(0).stale = true;
  await restart();
  t.same(told.config.offloads, ["vlanStrip", "vlanInsert"], "and the next configuration has it");
  const error = { code: "PORT_STATE", message: /^port 1 is started: net_fake/, fix: "port stop 1" };
  await t.rejects(tuning.setVlan("strip", 1, true), error);
  await tuning.setVlan("strip", 1, false);
  await ports.stop(1);
  await tuning.setVlan("strip", 1, true);
  await ports.start(1);
});

t.test("what a driver has not is named with the port", async (t) => {
  const { ports } = rig(["--flow-isolate-all"], {});
  const { code, message, fix } = (await ports.start("all").catch((error: unknown) => error)) as PollmodeError;
  t.same([code, message], ["NOT_SUPPORTED", "port 0 (net_fake0): net_fake has not flow isolation"]);
  t.match(fix, /^leave --flow-isolate-all out/);
  await t.rejects(ports.get(0).setLink(false), {
    code: "NOT_SUPPORTED",
    message: "port 0 (net_fake0): net_fake has not a link that can be set",
  });
});
