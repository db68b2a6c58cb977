// What net_mlx5 and net_rdma are told: VPP's and DPDK's words, and each wrong one named.
import t from "tap";
import { readArguments } from "../../../pmd/mlx5/arguments.ts";
import { chipName, mlx5Ids } from "../../../pmd/mlx5/ids.ts";
import { parseDevargs } from "../../../src/eal/devargs.ts";

const read = (text: string) => readArguments(parseDevargs(text));

t.test("what is left out", async (t) => {
  t.same(read("0000:5e:00.0"), {
    who: { pci: "0000:5e:00.0" },
    mode: "auto",
    rxSize: 1024,
    txSize: 1024,
    rxQueuesMax: 16,
    mac: undefined,
    striding: false,
    compression: true,
    multiPacketSend: true,
    inlineMin: undefined,
  });
});

t.test("a port by its interface, its RDMA device or its PCI address", async (t) => {
  t.same(read("net_rdma0,host-if=enp94s0f0").who, { netdev: "enp94s0f0" });
  t.same(read("net_rdma0,ibdev=mlx5_0").who, { ibdev: "mlx5_0" });
  t.same(read("net_rdma0,pci=5e:00.0").who, { pci: "5e:00.0" });
  t.throws(() => read("net_rdma0"), { code: "DEVARGS_MISSING", fix: /host-if=, ibdev= and pci=/ });
  t.throws(() => read("net_rdma0,host-if=a,ibdev=b"), { code: "DEVARGS_VALUE", message: /a and b are both/ });
  t.throws(() => read("5e:00.0,host-if=a"), { code: "DEVARGS_UNKNOWN" }, "its address names it");
});

t.test("VPP's and DPDK's words", async (t) => {
  const words = "mode=dv,rx-queue-size=512,tx-queue-size=256,num-rx-queues=2,mac=02:00:00:00:00:07";
  const more = "mprq_en=1,rxq_cqe_comp_en=0,txq_mpw_en=0,txq_inline_min=18";
  t.match(read(`net_rdma0,host-if=a,${words},${more}`), {
    mode: "dv",
    rxSize: 512,
    txSize: 256,
    rxQueuesMax: 2,
    mac: Uint8Array.of(2, 0, 0, 0, 0, 7),
    striding: true,
    compression: false,
    multiPacketSend: false,
    inlineMin: 18,
  });
});

for (const [word, code] of [
  ["mode=fast", "DEVARGS_VALUE"],
  ["rx-queue-size=1000", "DEVARGS_VALUE"],
  ["rx-queue-size=32", "DEVARGS_VALUE"],
  ["num-rx-queues=0", "DEVARGS_VALUE"],
  ["num-rx-queues=17", "DEVARGS_VALUE"],
  ["mac=01:00:00:00:00:01", "DEVARGS_VALUE"],
  ["mprq_en=yes", "DEVARGS_VALUE"],
  ["txq_inline_min=1000", "DEVARGS_VALUE"],
  ["rx-queue-sise=512", "DEVARGS_UNKNOWN"],
  ["mode=ibv,mprq_en=1", "DEVARGS_VALUE"],
  ["mode=ibv,txq_inline_min=18", "DEVARGS_VALUE"],
] as const) {
  t.test(`${word} is named`, async (t) => t.throws(() => read(`0000:5e:00.0,${word}`), { code }));
}

t.test("ids: ConnectX-4 to 7 and BlueField, each once", async (t) => {
  t.ok(mlx5Ids.every(({ vendor }) => vendor === 0x15b3));
  t.equal(new Set(mlx5Ids.map(({ device }) => device)).size, mlx5Ids.length);
  const chips = mlx5Ids.map(({ chip }) => chip).join();
  for (const chip of ["ConnectX-4 Lx", "ConnectX-5 Ex", "ConnectX-6 Dx", "ConnectX-7", "BlueField-3"]) {
    t.ok(chips.includes(chip), chip);
  }
  t.equal(chipName(0x15b3, 0x101d), "ConnectX-6 Dx");
  t.equal(chipName(0x8086, 0x10c9), "device 8086:10c9");
});
